#pragma once
// What turns a record into a row of the op table. Included by an op's .cpp, never by a user.
#include <memory>
#include <type_traits>

#include "tandem/op/lanes.h"
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"
#include "tandem/op/samples.h"
#include "tandem/op/simd.h"
#include "tandem/op/team.h"

namespace tandem {

// --- Point ops: elementwise ------------------------------------------------------------------

namespace detail {

using PointFn = void (*)(const void* op, const void* const* in, void* out, int64_t n);
/// Kernels over contiguous elements, one a compute type; f16, bf16 and small integers are
/// converted a tile at a time. `i64` and `u64` are null for records that compute in floating point
/// only.
struct PointKernel {
  PointFn f32, f64, i64;
  bool bool_out;
  lanes::Trace trace;  ///< writes down what `f32` computes; null when there are no lanes for it
  PointFn u64 = nullptr;
};
inline constexpr int max_point_inputs = 4;
/// Elements below which a fork costs more than it gains.
inline constexpr int64_t point_grain = 32768;
TANDEM_API void point_launch(const PointKernel& k, const void* op, Inputs in, Tensor& out);
/// Appends what the record's kernel computes for f32 and bool operands, whose values of `program`
/// are `in`, to the program; bools are 0 and 1. The number of the result, or -1 when the kernel is
/// of another kind.
TANDEM_API int record_point(lanes::Program& program, const OpInfo& info, const void* op,
                            std::span<const int> in, std::span<const DType> dtypes, DType result);
/// Inputs before `first` take no part in the common dtype.
TANDEM_API Spec point_infer(const OpInfo& info, const void* op, Specs in, Result result,
                            int first = 0);

template <class O, class T>
constexpr int point_arity() {
  if constexpr (requires(const O& o, T a) { o.point(a); }) return 1;
  else if constexpr (requires(const O& o, T a) { o.point(a, a); }) return 2;
  else if constexpr (requires(const O& o, T a) { o.point(a, a, a); }) return 3;
  else if constexpr (requires(const O& o, T a) { o.point(a, a, a, a); }) return 4;
  else return 0;
}

template <class O, class T>
void point_kernel(const void* op, const void* const* in, void* out, int64_t n) {
  constexpr int arity = point_arity<O, T>();
  const O o = *static_cast<const O*>(op);
  using R = std::conditional_t<O::result == Result::boolean, bool, T>;
  R* __restrict y = static_cast<R*>(out);
  const T* a = static_cast<const T*>(in[0]);
  if constexpr (arity == 1) {
    simd([=] {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = R(o.point(a[i]));
    });
  } else if constexpr (arity == 2) {
    const T* b = static_cast<const T*>(in[1]);
    simd([=] {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = R(o.point(a[i], b[i]));
    });
  } else if constexpr (arity == 3) {
    const T *b = static_cast<const T*>(in[1]), *c = static_cast<const T*>(in[2]);
    simd([=] {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = R(o.point(a[i], b[i], c[i]));
    });
  } else {
    const T *b = static_cast<const T*>(in[1]), *c = static_cast<const T*>(in[2]),
            *d = static_cast<const T*>(in[3]);
    simd([=] {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = R(o.point(a[i], b[i], c[i], d[i]));
    });
  }
}

template <class O>
void point_trace(const void* op, const lanes::F32* in, lanes::F32* out) {
  const O& o = *static_cast<const O*>(op);
  constexpr int arity = point_arity<O, lanes::F32>();
  if constexpr (arity == 1) *out = lanes::F32(o.point(in[0]));
  else if constexpr (arity == 2) *out = lanes::F32(o.point(in[0], in[1]));
  else if constexpr (arity == 3) *out = lanes::F32(o.point(in[0], in[1], in[2]));
  else *out = lanes::F32(o.point(in[0], in[1], in[2], in[3]));
}
template <class O>
constexpr lanes::Trace point_trace_of() {
  if constexpr (point_arity<O, lanes::F32>() > 0) return point_trace<O>;
  else return nullptr;
}

template <class O>
concept PointOp = point_arity<O, float>()
> 0;
/// Records whose result is floating compute in floating point; `integers = false` opts out others.
template <class O>
constexpr bool point_integers() {
  if constexpr (requires { O::integers; }) return O::integers;
  else return O::result != Result::floating;
}
template <class O, class T>
constexpr PointFn point_integer_kernel() {
  if constexpr (point_integers<O>()) return point_kernel<O, T>;
  else return nullptr;
}
template <class O>
inline constexpr PointKernel point_table{
    point_kernel<O, float>,       point_kernel<O, double>, point_integer_kernel<O, int64_t>(),
    O::result == Result::boolean, point_trace_of<O>(),     point_integer_kernel<O, uint64_t>()};

/// Runs the point functor `f`, for records that choose between several by an attribute.
template <class F>
void point_run(const F& f, Inputs in, Tensor& out) {
  point_launch(point_table<F>, &f, in, out);
}

// --- Row ops: one output row from whole input rows along `axis` -----------------------------

using RowFn = void (*)(const void* op, const void* const* in, void* out, int64_t n);
struct RowKernel {
  RowFn f32, f64;
};
TANDEM_API void row_launch(const RowKernel& k, const void* op, int64_t axis, Inputs in,
                           Tensor& out);

template <class O>
constexpr int row_arity() {
  using T = float;
  if constexpr (requires(const O& o, const T* x, T* y) { o.row(CpuTeam{}, x, y, int64_t(1)); })
    return 1;
  else if constexpr (requires(const O& o, const T* x, T* y) {
                       o.row(CpuTeam{}, x, x, y, int64_t(1));
                     })
    return 2;
  else return 0;
}
template <class O>
concept RowOp = row_arity<O>()
> 0;

template <class O, class T>
void row_kernel(const void* op, const void* const* in, void* out, int64_t n) {
  const O& o = *static_cast<const O*>(op);
  const T* a = static_cast<const T*>(in[0]);
  T* y = static_cast<T*>(out);
  if constexpr (row_arity<O>() == 1) {
    simd([&] { o.row(CpuTeam{}, a, y, n); });
  } else {
    const T* b = static_cast<const T*>(in[1]);
    simd([&] { o.row(CpuTeam{}, a, b, y, n); });
  }
}
template <class O>
inline constexpr RowKernel row_table{row_kernel<O, float>, row_kernel<O, double>};

// --- Reductions: a fold over `axes` ----------------------------------------------------------

// A record gives the static functions `fold_identity<A>()`, `fold_step(A, x)`, `fold_merge(A, A)`
// and the member `fold_finish(A, n)`, which turns the fold of n elements into the result.
/// Folds `n` contiguous elements into one value.
using FoldRowFn = void (*)(const void* op, const void* x, int64_t n, void* acc);
/// Folds a row of `n` elements into `n` values, element by element.
using FoldColumnsFn = void (*)(const void* op, const void* x, int64_t n, void* acc);
using FoldEndsFn = void (*)(const void* op, void* acc, int64_t n, int64_t count, bool begin);
struct ReduceKernel {
  struct Of {
    FoldRowFn row, sequence;  ///< over lanes; one after another
    FoldColumnsFn columns;
    FoldEndsFn ends;              ///< begin: fills with the identity; else: finish()
    FoldRowFn merge;              ///< merges `n` folds into one
    FoldColumnsFn merge_columns;  ///< `n` folds into `n` others
  } f32, f64, i64, u64;
};
TANDEM_API void reduce_launch(const ReduceKernel& k, const void* op, const Shape& axes, Inputs in,
                              Tensor& out);

template <class O>
concept ReduceOp = requires {
  O::template fold_identity<float>();
};

/// The lanes of `fold_row`, in bytes.
inline constexpr int fold_lanes_bytes = 128;
// Partial sums over many lanes keep the rounding error near that of pairwise summation and let
// the compiler vectorise without reassociating.
template <class O, class T>
void fold_row(const void*, const void* x, int64_t n, void* acc) {
  constexpr int lanes = fold_lanes_bytes / sizeof(T);
  const T* p = static_cast<const T*>(x);
  T* result = static_cast<T*>(acc);
  simd([=] {
    T part[lanes];
    for (int l = 0; l < lanes; ++l) part[l] = O::template fold_identity<T>();
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
#pragma omp simd
      for (int l = 0; l < lanes; ++l) part[l] = O::fold_step(part[l], p[i + l]);
    for (; i < n; ++i) part[i % lanes] = O::fold_step(part[i % lanes], p[i]);
    for (int w = lanes / 2; w; w /= 2)
      for (int l = 0; l < w; ++l) part[l] = O::fold_merge(part[l], part[l + w]);
    *result = O::fold_merge(*result, part[0]);
  });
}
template <class O, class T>
void fold_sequence(const void*, const void* x, int64_t n, void* acc) {
  const T* p = static_cast<const T*>(x);
  T a = *static_cast<T*>(acc);
  for (int64_t i = 0; i < n; ++i) a = O::fold_step(a, p[i]);
  *static_cast<T*>(acc) = a;
}
template <class O, class T>
void fold_columns(const void*, const void* x, int64_t n, void* acc) {
  const T* p = static_cast<const T*>(x);
  T* a = static_cast<T*>(acc);
  simd([=] {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) a[i] = O::fold_step(a[i], p[i]);
  });
}
template <class O, class T>
void fold_ends(const void* op, void* acc, int64_t n, int64_t count, bool begin) {
  T* a = static_cast<T*>(acc);
  const O& o = *static_cast<const O*>(op);
  for (int64_t i = 0; i < n; ++i)
    a[i] = begin ? O::template fold_identity<T>() : T(o.fold_finish(a[i], count));
}
template <class O, class T>
void fold_merge(const void*, const void* x, int64_t n, void* acc) {
  const T* p = static_cast<const T*>(x);
  T& a = *static_cast<T*>(acc);
  for (int64_t i = 0; i < n; ++i) a = O::fold_merge(a, p[i]);
}
template <class O, class T>
void fold_merge_columns(const void*, const void* x, int64_t n, void* acc) {
  const T* p = static_cast<const T*>(x);
  T* a = static_cast<T*>(acc);
  simd([=] {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) a[i] = O::fold_merge(a[i], p[i]);
  });
}
template <class O, class T>
inline constexpr ReduceKernel::Of reduce_table_of{fold_row<O, T>,     fold_sequence<O, T>,
                                                  fold_columns<O, T>, fold_ends<O, T>,
                                                  fold_merge<O, T>,   fold_merge_columns<O, T>};
template <class O>
inline constexpr ReduceKernel reduce_table{reduce_table_of<O, float>, reduce_table_of<O, double>,
                                           reduce_table_of<O, int64_t>,
                                           reduce_table_of<O, uint64_t>};

// --- From a record to a row of the table ------------------------------------------------------

template <class O>
constexpr int output_count() {
  if constexpr (requires { O::outputs; }) return O::outputs;
  else return 1;
}

template <class O>
void infer_thunk(const void* op, Specs in, Spec* out) {
  const O& o = *static_cast<const O*>(op);
  if constexpr (requires { o.infer(in); }) {
    if constexpr (output_count<O>() == 1) {
      *out = o.infer(in);
    } else {
      auto all = o.infer(in);
      for (int i = 0; i < output_count<O>(); ++i) out[i] = all[size_t(i)];
    }
  } else {
    *out = point_infer(op_info<O>(), op, in, O::result);
  }
}

template <class O>
void cpu_thunk(const void* op, Inputs in, Outputs out) {
  const O& o = *static_cast<const O*>(op);
  if constexpr (requires { o.cpu(in, out); }) o.cpu(in, out);
  else if constexpr (PointOp<O>) point_launch(point_table<O>, op, in, out[0]);
  else if constexpr (RowOp<O>) row_launch(row_table<O>, op, o.axis, in, out[0]);
  else reduce_launch(reduce_table<O>, op, o.axes, in, out[0]);
}

template <class O>
bool view_thunk(const void* op, const Tensor& in, View& out) {
  return static_cast<const O*>(op)->view(in, out);
}

template <class O>
void vjp_thunk(const void* op, const Saved& saved, const Tensors& dy, Tensors& dx) {
  const O& o = *static_cast<const O*>(op);
  if constexpr (requires { o.vjp(saved, dy[0]); }) dx = o.vjp(saved, dy[0]);
  else dx = o.vjp(saved, dy);
}

template <class O>
void samples_thunk(SampleSet& out) {
  auto all = O::samples();
  for (auto& s : all.ok)
    out.samples.push_back({std::make_shared<O>(s.op), std::move(s.in), {}, s.gradient});
  for (auto& s : all.errors)
    out.samples.push_back({std::make_shared<O>(s.op), std::move(s.in), s.message, false});
}

constexpr int count_inputs(std::string_view text, bool required) {
  if (text.empty()) return 0;
  int n = 1, optional = 0;
  for (char c : text) n += c == ',', optional += c == '?';
  if (text.ends_with("...")) return required ? n : 1 << 16;
  return required ? n - optional : n;
}

/// The axes of a record that says `by_rows`, when they are the last ones of `dim`.
template <class O>
int row_axes_thunk(const void* p, int dim) {
  const O& op = *static_cast<const O*>(p);
  if constexpr (requires { op.normalized_shape; }) {
    return op.normalized_shape.size();
  } else {
    uint32_t hit = 0;
    auto add = [&](int64_t a) { hit |= 1u << (a < 0 ? a + dim : a); };
    int n = 1;
    if constexpr (requires { op.axes; }) {
      for (int64_t a : op.axes) add(a);
      n = op.axes.size();
    } else {
      add(op.axis);
    }
    return n < dim && hit == ((1u << n) - 1) << (dim - n) ? n : 0;
  }
}

template <class O>
constexpr OpInfo make_op_info() {
  OpInfo r{};
  r.name = O::name;
  r.inputs = O::inputs;
  if constexpr (requires { O::onnx; }) r.onnx = O::onnx;
  if constexpr (requires { O::saves; }) r.saves = O::saves;
  r.min_inputs = count_inputs(O::inputs, true);
  r.max_inputs = count_inputs(O::inputs, false);
  r.outputs = output_count<O>();
  if constexpr (requires { O::is_number; }) r.number = O::is_number;
  r.all_defined = O::inputs.ends_with("...");
  if constexpr (requires { O::on_cpu; }) r.on_cpu = O::on_cpu;
  r.infers_devices = PointOp<O> && !requires(const O& o, Specs in) { o.infer(in); };
  if constexpr (requires { O::broadcasts; }) r.broadcasts = O::broadcasts;
  else r.broadcasts = PointOp<O>;
  r.size = std::is_empty_v<O> ? 0 : sizeof(O);
  r.align = alignof(O);
  if constexpr (
      PointOp<O> && !requires(const O& o, Specs in) { o.infer(in); } &&
      !requires(const O& o, Inputs i, Outputs u) { o.cpu(i, u); })
    if (O::result != Result::boolean && r.min_inputs == r.max_inputs) r.point = &point_table<O>;
  r.update = update_of<O>;
  if constexpr (requires { O::by_rows; }) r.row_axes = row_axes_thunk<O>;
  r.infer = infer_thunk<O>;
  if constexpr (requires(const O& o, View& v) { o.view(Tensor(), v); }) r.view = view_thunk<O>;
  if constexpr (requires(const O& o, Inputs i, Outputs u) { o.cpu(i, u); } || PointOp<O> ||
                RowOp<O> || ReduceOp<O>)
    r.cpu = cpu_thunk<O>;
  if constexpr (requires { O::not_differentiable; }) {
    r.not_differentiable = O::not_differentiable;
  } else {
    r.differentiable = true;
    r.vjp = vjp_thunk<O>;
  }
  r.copy = [](void* to, const void* from) { new (to) O(*static_cast<const O*>(from)); };
  if constexpr (!std::is_trivially_destructible_v<O>)
    r.destroy = [](void* op) { static_cast<O*>(op)->~O(); };
  r.make_default = [](void* at) { new (at) O{}; };
  r.visit = [](void* op, FieldVisitor& v) {
    for_each_field(*static_cast<O*>(op), [&](std::string_view n, auto& m) { v.visit(n, m); });
  };
  r.print = [](const void* op) { return print(*static_cast<const O*>(op)); };
  r.hash = [](const void* op) {
    uint64_t h = std::hash<std::string_view>{}(O::name);
    for_each_field(*static_cast<const O*>(op),
                   [&](std::string_view, const auto& m) { h = mix(h, hash_value(m)); });
    return h;
  };
  r.equal = [](const void* a, const void* b) {
    const O &x = *static_cast<const O*>(a), &y = *static_cast<const O*>(b);
    return apply_fields([&](const auto&... f) { return (same(x.*(f.ptr), y.*(f.ptr)) && ...); },
                        O::fields);
  };
  r.samples = samples_thunk<O>;
  return r;
}

}  // namespace detail

/// The one macro of an op: derives its row. Stands once, before the record's functions in its .cpp.
#define TANDEM_OP(O)                                             \
  template <>                                                    \
  TANDEM_API const OpInfo& op_info<O>();                         \
  namespace {                                                    \
  constinit const OpInfo row_of_##O = detail::make_op_info<O>(); \
  }                                                              \
  template <>                                                    \
  const OpInfo& op_info<O>() {                                   \
    return row_of_##O;                                           \
  }                                                              \
  const OpInfo& op_row_##O();                                    \
  const OpInfo& op_row_##O() { return row_of_##O; }

}  // namespace tandem
