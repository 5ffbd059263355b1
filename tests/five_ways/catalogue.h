#pragma once
// Everything that a step can call: the records of the op table, public functions that are more than
// a record, and layers; each with samples that say how.
#include <memory>
#include <string>
#include <vector>

#include "tandem/nn/module.h"
#include "tandem/op/registry.h"
#include "tests/five_ways/lengths.h"
#include "tests/five_ways/program.h"

namespace tandem::five_ways {

/// The attributes of a step, lengths put in.
class Values {
 public:
  explicit Values(const Attributes& attributes) : attributes_(attributes) {}
  void put(const Computed& where, Length v) { lengths_.push_back({&where, v}); }

  bool flag(std::string_view name) const { return get<bool>(name); }
  double real(std::string_view name) const { return get<double>(name); }
  const std::string& text(std::string_view name) const { return get<std::string>(name); }
  DType dtype(std::string_view name) const { return get<DType>(name); }
  Length length(std::string_view name) const;
  Shape shape(std::string_view name) const;
  /// Writes all attributes into a record.
  void write(const OpInfo& info, void* op) const;

 private:
  struct Put {
    const Computed* where;
    Length value;
  };
  const FieldValue& find(std::string_view name) const;
  template <class T>
  const T& get(std::string_view name) const {
    return std::get<T>(find(name));
  }
  friend class LengthWriter;

  const Attributes& attributes_;
  std::vector<Put> lengths_;
};

/// A good call: attributes and inputs that fit them.
struct CallSample {
  Attributes attributes;
  InputSpecs in;
  bool gradient = true;
};

/// A public function. `text` is its call in C++: $0, $1 are inputs, $name an attribute.
struct Function {
  std::string_view name, text;
  Tensor (*call)(const Values& v, Inputs in);
  std::vector<CallSample> samples;
  bool draws = false;  ///< takes random numbers from the default generator
};
const std::vector<Function>& functions();

/// A layer that was made: its state, and how it is called.
struct Layer {
  std::shared_ptr<nn::ModuleBase> module;
  Tensors (*call)(nn::ModuleBase& module, Inputs in);
};
/// A layer of nn. `text` makes one in C++.
struct LayerKind {
  std::string_view name, text;
  Layer (*make)(const Values& v);
  std::vector<CallSample> samples;
  std::string_view result = "";  ///< members of what a call gives: ".output, .h_n"
};
const std::vector<LayerKind>& layers();

struct Callable {
  Step::Kind kind = Step::record;
  std::string name;
  std::string struct_name;  ///< records: what C++ calls it
  const OpInfo* info = nullptr;
  const Function* function = nullptr;
  const LayerKind* layer = nullptr;
  std::vector<CallSample> samples;
};
const std::vector<Callable>& catalogue();
/// Null when there is none.
const Callable* find_callable(Step::Kind kind, std::string_view name);
/// Whether an attribute of a record that is made from a length is a plain number there: to know it
/// is a decision.
bool decides_by_attribute(const Step& step);
/// What C++ calls the records of the table, in its order, with commas between. Written by the
/// build.
const char* op_structs();
/// True for what takes random numbers from the default generator.
bool draws(const Step& step);

}  // namespace tandem::five_ways
