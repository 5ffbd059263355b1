#pragma once
#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/named_tensors.h"
#include "tandem/core/random.h"

namespace tandem {

namespace detail {

class CheckpointPart {
 public:
  virtual ~CheckpointPart() = default;
  virtual NamedTensors save() const = 0;
  virtual void load(const NamedTensors& state) = 0;
};

template <class T>
concept Stateful = requires(T& part, const NamedTensors& state) {
  NamedTensors(std::as_const(part).state_dict());
  part.load_state_dict(state);
};

template <Stateful T>
class StatefulPart final : public CheckpointPart {
 public:
  explicit StatefulPart(T& part) : part_(part) {}
  NamedTensors save() const override { return std::as_const(part_).state_dict(); }
  void load(const NamedTensors& state) override { part_.load_state_dict(state); }

 private:
  T& part_;
};

}  // namespace detail

/// Everything that a run needs to go on as if it had never stopped: parts with names, held by
/// reference and kept in one .safetensors file.
///
///     int64_t step = 0;
///     Checkpoint checkpoint;
///     checkpoint.add("model", model).add("optimizer", optimizer).add("scheduler", scheduler)
///         .add("loader", loader).add("random", default_generator()).add("step", step);
///     checkpoint.load_if_exists("run.safetensors");
///     ...
///     checkpoint.save("run.safetensors");  // the old file stays whole until the new one is
///
/// The tensors of a part are called "part/name", numbers of 64 bits are kept to the last one.
class TANDEM_API Checkpoint {
 public:
  Checkpoint();
  ~Checkpoint();
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  /// A module, optimizer, scheduler, DataLoader, or anything else with `state_dict()` and
  /// `load_state_dict(NamedTensors)`. Errors: ValueError for a name that is taken, empty or has a
  /// /.
  template <detail::Stateful T>
  Checkpoint& add(std::string name, T& part) {
    return add_part(std::move(name), std::make_unique<detail::StatefulPart<T>>(part));
  }
  Checkpoint& add(std::string name, Generator& generator);
  Checkpoint& add(std::string name, int64_t& number);
  Checkpoint& add(std::string name, double& number);
  Checkpoint& add(std::string name, std::string& text);
  /// Replaced, not written into, by `load`.
  Checkpoint& add(std::string name, Tensor& tensor);

  /// Atomic and on disk when it returns. Errors: IOError.
  void save(const std::string& path) const;
  /// Errors: IOError for a missing or damaged file; ValueError when the file lacks a part or has
  /// one that was not added, before any part is changed; the errors of a part's load_state_dict.
  void load(const std::string& path);
  /// As `load`; false when there is no such file.
  bool load_if_exists(const std::string& path);

 private:
  Checkpoint& add_part(std::string name, std::unique_ptr<detail::CheckpointPart> part);
  std::vector<std::pair<std::string, std::unique_ptr<detail::CheckpointPart>>> parts_;
};

}  // namespace tandem
