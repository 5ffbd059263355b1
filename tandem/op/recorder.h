#pragma once
#include "tandem/core/modes.h"
#include "tandem/op/op.h"

namespace tandem {

class Generator;

/// A graph under construction: receives every op that touches one of its values.
class Recorder {
 public:
  virtual ~Recorder() = default;
  /// Appends a node. `out` arrives with specs inferred and is given its value numbers. Concrete
  /// inputs are captured by reference.
  virtual void record(const OpInfo& info, const void* op, Inputs in, Outputs out) = 0;
  /// From here on the concrete `target` holds `value`; a run of the graph writes it there.
  virtual void assign(const Tensor& target, const Tensor& value) = 0;
  /// A random key that each run draws anew from the stream of `generator`.
  virtual Tensor random_key(Generator& generator) = 0;
  /// The gradient of `leaf` is about to be replaced or dropped, or, `accumulates`, to be added to.
  virtual void gradient_changes(const Tensor& leaf, bool accumulates = false) = 0;
  /// The code has looked at the gradient that `leaf` has.
  virtual void gradient_is_read(const Tensor& leaf) = 0;
  /// The code has used the owner of a switch, or, `by_value`, has looked at it: without that owner,
  /// or with another value, it might record something else.
  virtual void depends_on(const std::shared_ptr<const OwnedSwitch>& s, bool by_value) = 0;
  /// The code has looked at a length: with another one it might record something else.
  virtual void length_is_read(const CallSite& where) = 0;
  /// What AnomalyMode watches in runs: `value` is the gradient of input `input` of `op`, which ran
  /// in the module `path`; if `condition` is defined, only where its value is `holds`.
  virtual void gradient_of(int64_t value, std::string op, int input, std::string path,
                           const Tensor& condition, bool holds) = 0;
  /// Where a value comes from, for error texts: " of relu() in module Net.act".
  virtual std::string origin(int64_t value) const = 0;
};

namespace detail {
/// What a recorded write adds to a version: more than the real writes until it is taken back, so
/// that no version comes twice.
inline constexpr uint32_t recorded_write = 1u << 24;

/// A symbolic tensor of this spec, not yet a value of any graph.
TANDEM_API Tensor new_symbolic(const Spec& spec);
TANDEM_API void bind_symbolic(const Tensor& t, std::shared_ptr<Recorder> recorder, int64_t value);

/// While it lives, every op of this thread goes into `recorder`.
class CaptureScope {
 public:
  explicit CaptureScope(Recorder& recorder) : modes_(modes), before_(capturing) {
    capturing = &recorder;
    modes |= Modes::capture;
  }
  ~CaptureScope() {
    capturing = before_;
    modes = modes_;
  }
  CaptureScope(const CaptureScope&) = delete;
  CaptureScope& operator=(const CaptureScope&) = delete;

 private:
  uint32_t modes_;
  Recorder* before_;
};

/// While it lives, ops of this thread run at once even inside a function under capture: for state
/// that is made at first use and stays.
class Uncaptured {
 public:
  Uncaptured() : before_(modes & Modes::capture) { modes &= ~uint32_t(Modes::capture); }
  ~Uncaptured() { modes |= before_; }
  Uncaptured(const Uncaptured&) = delete;
  Uncaptured& operator=(const Uncaptured&) = delete;

 private:
  uint32_t before_;
};
}  // namespace detail
}  // namespace tandem
