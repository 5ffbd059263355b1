#pragma once
#include <array>
#include <cmath>
#include <concepts>
#include <span>
#include <string_view>

#include "tandem/core/tensor.h"
#include "tandem/op/fields.h"

namespace tandem {

/// A set of small numbers, written {0, 2}.
struct IndexSet {
  uint32_t bits = 0;
  constexpr IndexSet() = default;
  constexpr IndexSet(std::initializer_list<int> list) {
    for (int i : list) bits |= 1u << i;
  }
  constexpr bool has(int i) const { return i < 32 && (bits >> i & 1u); }
};

/// Which inputs and outputs the tape keeps alive for `vjp`.
struct Saves {
  IndexSet in, out;
};

/// The ONNX operator that a record is, and since which opset; empty when ONNX has none.
struct OnnxRule {
  std::string_view op;
  int since = 0;
};

/// What `infer` sees of its inputs. Optional inputs that were left out have `has(i) == false`.
class Specs {
 public:
  Specs(const Tensor* in, int n) : in_(in), n_(n) {}
  int size() const { return n_; }
  bool has(int i) const { return i < n_ && in_[i].defined(); }
  const Spec& operator[](int i) const { return in_[i].impl()->spec; }
  /// True when the input was a C++ number.
  bool is_number(int i) const { return in_[i].impl()->has(TensorImpl::wrapped_number); }

 private:
  const Tensor* in_;
  int n_;
};

/// What `vjp` sees of the forward pass: saved tensors, and the specs of all inputs.
class TANDEM_API Saved {
 public:
  explicit Saved(const Node& node) : node_(node) {}
  /// Input `i`; GradientError unless the record's `saves` lists it, or when it was overwritten
  /// since. Undefined if it was left out.
  const Tensor& in(int i) const;
  /// Output `i`; likewise.
  Tensor out(int i = 0) const;
  const Spec& spec(int input) const;
  const Shape& shape(int input) const { return spec(input).shape; }
  int size() const;
  /// Whether anybody wants the gradient of input `i`: a costly one may be skipped otherwise.
  bool needs(int input) const;

 private:
  const Node& node_;
};

using Inputs = std::span<const Tensor>;
using Outputs = std::span<Tensor>;

/// The geometry of a view of an op's first input: strides and offset count elements.
struct View {
  Shape shape;
  Strides strides;
  Length offset = 0;
};

struct SampleSet;  // op/samples.h
template <class O>
struct Samples;  // op/samples.h
namespace detail {
struct PointKernel;  // op/kernel.h
struct UpdateItem;   // ops/update.h
/// Runs an optimizer's record over many parameters in one pass, in place.
using UpdateFn = void (*)(const void* op, const double* hyper, std::span<const UpdateItem> items,
                          int states, DType dtype);
/// That of record O; ops/update.h gives it to the records of update rules.
template <class O>
inline constexpr UpdateFn update_of = nullptr;
}  // namespace detail

/// A row of the op table: a record with its type erased. Derived by TANDEM_OP, never written by
/// hand.
struct OpInfo {
  std::string_view name;
  std::string_view inputs;  ///< "x, weight, bias?": ? marks optional, ... variadic
  OnnxRule onnx;
  Saves saves;
  int min_inputs, max_inputs, outputs;
  bool number;          ///< its result promotes as a C++ number does
  bool all_defined;     ///< inputs beyond min_inputs must be defined as well
  IndexSet on_cpu;      ///< inputs that lie on the CPU whatever the device: keys, hyperparameters
  bool infers_devices;  ///< infer compares the inputs' devices; else the gate does
  bool broadcasts;      ///< gradients are summed back to the inputs' shapes by the tape
  bool keeps_values;    ///< its gradient takes symbolic inputs as they were, however written since
  bool misses_gradients;  ///< its vjp gets undefined gradients as such, others get zeros for them
  bool differentiable;
  std::string_view not_differentiable;  ///< the reason, when it is not
  uint32_t size, align;                 ///< of the attributes; size 0: there are none
  /// Elementwise records whose result has the spec of equal floating inputs; null for all others.
  const detail::PointKernel* point;
  detail::UpdateFn update;  ///< update rules; null for all others
  /// How many of the last of `dim` axes are a row to the record; 0 when it looks at others. Null
  /// but for records that say `by_rows`: a row of theirs depends on that row of their inputs and on
  /// what is the same for all rows.
  int (*row_axes)(const void* op, int dim);
  void (*infer)(const void* op, Specs in, Spec* out);
  bool (*view)(const void* op, const Tensor& in, View& out);
  void (*cpu)(const void* op, Inputs in, Outputs out);
  void (*vjp)(const void* op, const Saved& saved, const Tensors& dy, Tensors& dx);
  void (*copy)(void* to, const void* from);
  void (*destroy)(void* op);
  void (*make_default)(void* at);
  void (*visit)(void* op, FieldVisitor& visitor);
  std::string (*print)(const void* op);
  uint64_t (*hash)(const void* op);
  bool (*equal)(const void* a, const void* b);
  void (*samples)(SampleSet& out);
};

/// The row of record O; TANDEM_OP(O) in the op's .cpp defines it.
template <class O>
const OpInfo& op_info();

/// Throws E unless `ok`; the text starts with the op and its attributes.
template <class E = ValueError, class O, class... A>
[[gnu::always_inline]] inline void check(bool ok, const O& op, A&&... a) {
  static_assert(!detail::made_in_advance<A...>, "give a function that makes this text");
  if (!ok) [[unlikely]]
    detail::fail<E>(print(op), ": ", a...);
}

/// `axis` counted from the front; IndexError when it is out of range. 0-d counts as one axis.
template <class O>
int check_axis(const O& op, int64_t axis, const Shape& s) {
  const int n = std::max(s.size(), 1);
  check<IndexError>(axis >= -n && axis < n, op, "axis ", axis, " is out of range [", -n, ", ",
                    n - 1, "] for shape ", s);
  return int(axis < 0 ? axis + n : axis);
}

namespace detail {
TANDEM_API Tensor apply1(const OpInfo& info, const void* op, const Tensor* in, int n);
TANDEM_API Tensors apply_all(const OpInfo& info, const void* op, const Tensor* in, int n);
TANDEM_API void apply_inplace(const OpInfo& info, const void* op, const Tensor* in, int n);
}  // namespace detail

namespace detail {
/// A tensor handle that takes no reference: what `{x, y}` of a call is made of.
struct Borrowed {
  TensorImpl* impl;
  Borrowed(const Tensor& t) : impl(t.impl()) {}
};
static_assert(sizeof(Borrowed) == sizeof(Tensor));
inline const Tensor* handles(const Borrowed* list) { return reinterpret_cast<const Tensor*>(list); }
}  // namespace detail

/// The only gate: infers, then runs the kernel, or appends a node when an input is symbolic, and
/// puts a node on the tape when a gradient is wanted.
template <class O, size_t N>
Tensor apply(const O& op, const detail::Borrowed (&in)[N]) {
  return detail::apply1(op_info<O>(), &op, detail::handles(in), int(N));
}
template <class O>
Tensor apply(const O& op, Inputs in) {
  return detail::apply1(op_info<O>(), &op, in.data(), int(in.size()));
}
/// As `apply`, for records with several outputs.
template <class O>
Tensors apply_all(const O& op, Inputs in) {
  return detail::apply_all(op_info<O>(), &op, in.data(), int(in.size()));
}
template <class O>
Tensors apply_all(const O& op, std::initializer_list<detail::Borrowed> in) {
  return detail::apply_all(op_info<O>(), &op, detail::handles(in.begin()), int(in.size()));
}
/// Writes the result over the first input, whose history becomes this op. Errors: GradientError
/// for leaves that require a gradient, ShapeError when the result has another shape.
template <class O>
void apply_inplace(const O& op, std::initializer_list<detail::Borrowed> in) {
  detail::apply_inplace(op_info<O>(), &op, detail::handles(in.begin()), int(in.size()));
}

}  // namespace tandem
