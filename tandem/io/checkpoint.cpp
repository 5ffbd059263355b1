#include "tandem/io/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "tandem/core/factory.h"
#include "tandem/io/safetensors.h"
#include "tandem/op/copy.h"

namespace tandem {

namespace {

constexpr const char* only = "value";  // the name within a part that is one value

Tensor value_of(const NamedTensors& state, DType dtype, const char* what) {
  const Tensor t = find(state, only);
  require(state.size() == 1 && t.defined() && t.dtype() == dtype, "Checkpoint: ", what,
          " needs one ", dtype, " tensor called ", only);
  return t;
}

template <class T>
class NumberPart final : public detail::CheckpointPart {
 public:
  explicit NumberPart(T& number) : number_(number) {}
  NamedTensors save() const override { return {{only, full({}, number_, dtype_of<T>)}}; }
  void load(const NamedTensors& state) override {
    number_ = value_of(state, dtype_of<T>, "a number").template item<T>();
  }

 private:
  T& number_;
};

class TextPart final : public detail::CheckpointPart {
 public:
  explicit TextPart(std::string& text) : text_(text) {}
  NamedTensors save() const override {
    Tensor t = empty({int64_t(text_.size())}, u8);
    if (!text_.empty()) std::memcpy(t.raw_data(), text_.data(), text_.size());
    return {{only, t}};
  }
  void load(const NamedTensors& state) override {
    const std::span<uint8_t> bytes = value_of(state, u8, "a text").span<uint8_t>();
    text_.assign(bytes.begin(), bytes.end());
  }

 private:
  std::string& text_;
};

class TensorPart final : public detail::CheckpointPart {
 public:
  explicit TensorPart(Tensor& tensor) : tensor_(tensor) {}
  NamedTensors save() const override { return {{only, tensor_}}; }
  void load(const NamedTensors& state) override {
    const Tensor stored = find(state, only);
    require(state.size() == 1 && stored.defined(), "Checkpoint: a tensor needs one tensor called ",
            only);
    Tensor t = empty(stored.spec());  // of its own: the file must not stay mapped for it
    detail::copy_data(t, stored);
    tensor_ = std::move(t);
  }

 private:
  Tensor& tensor_;
};

class GeneratorPart final : public detail::CheckpointPart {
 public:
  explicit GeneratorPart(Generator& generator) : generator_(generator) {}
  NamedTensors save() const override { return {{only, generator_.state()}}; }
  void load(const NamedTensors& state) override {
    generator_.set_state(value_of(state, i64, "a generator"));
  }

 private:
  Generator& generator_;
};

}  // namespace

Checkpoint::Checkpoint() = default;
Checkpoint::~Checkpoint() = default;

Checkpoint& Checkpoint::add_part(std::string name, std::unique_ptr<detail::CheckpointPart> part) {
  require(!name.empty() && name.find('/') == std::string::npos, "Checkpoint: the name \"", name,
          "\" of a part must not be empty or hold a /");
  for (const auto& [other, p] : parts_)
    require(other != name, "Checkpoint: there is a part ", name, " already");
  parts_.emplace_back(std::move(name), std::move(part));
  return *this;
}

Checkpoint& Checkpoint::add(std::string name, Generator& generator) {
  return add_part(std::move(name), std::make_unique<GeneratorPart>(generator));
}
Checkpoint& Checkpoint::add(std::string name, int64_t& number) {
  return add_part(std::move(name), std::make_unique<NumberPart<int64_t>>(number));
}
Checkpoint& Checkpoint::add(std::string name, double& number) {
  return add_part(std::move(name), std::make_unique<NumberPart<double>>(number));
}
Checkpoint& Checkpoint::add(std::string name, std::string& text) {
  return add_part(std::move(name), std::make_unique<TextPart>(text));
}
Checkpoint& Checkpoint::add(std::string name, Tensor& tensor) {
  return add_part(std::move(name), std::make_unique<TensorPart>(tensor));
}

void Checkpoint::save(const std::string& path) const {
  NamedTensors all;
  std::string names;  // parts without tensors must be known too
  for (const auto& [name, part] : parts_) {
    names += cat(names.empty() ? "" : "/", name);
    for (auto& [key, tensor] : part->save()) all.emplace_back(cat(name, "/", key), tensor);
  }
  save_safetensors(path, all, {{"format", "tandem.checkpoint"}, {"parts", names}});
}

void Checkpoint::load(const std::string& path) {
  const auto metadata = load_safetensors_metadata(path);
  const auto format = metadata.find("format"), parts = metadata.find("parts");
  require<IOError>(
      format != metadata.end() && format->second == "tandem.checkpoint" && parts != metadata.end(),
      "Checkpoint::load(", path, "): not a checkpoint: its metadata names no parts");
  std::vector<std::string> stored{""};
  for (const char c : parts->second) {
    if (c == '/') stored.emplace_back();
    else stored.back() += c;
  }
  if (stored.back().empty()) stored.clear();
  std::string wrong;
  for (const auto& [name, part] : parts_)
    if (std::find(stored.begin(), stored.end(), name) == stored.end())
      wrong += cat("; the file has no part ", name);
  for (const std::string& name : stored)
    if (std::none_of(parts_.begin(), parts_.end(), [&](const auto& p) { return p.first == name; }))
      wrong += cat("; the file's part ", name, " was not added");
  require(wrong.empty(), "Checkpoint::load(", path, ")", wrong);

  const NamedTensors all = load_safetensors(path);
  for (const auto& [name, part] : parts_) {
    NamedTensors state;
    for (const auto& [key, tensor] : all)
      if (key.starts_with(name + "/")) state.emplace_back(key.substr(name.size() + 1), tensor);
    part->load(state);
  }
}

bool Checkpoint::load_if_exists(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return false;
  load(path);
  return true;
}

}  // namespace tandem
