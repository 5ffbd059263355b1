// Elementwise records, products and reductions as ONNX operators.
#include <cmath>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_export.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/any.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/cumsum.h"
#include "tandem/ops/det.h"
#include "tandem/ops/div.h"
#include "tandem/ops/elu.h"
#include "tandem/ops/erf.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/expm1.h"
#include "tandem/ops/floor.h"
#include "tandem/ops/gelu.h"
#include "tandem/ops/hardtanh.h"
#include "tandem/ops/isnan.h"
#include "tandem/ops/leaky_relu.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/log.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/logsumexp.h"
#include "tandem/ops/masked_fill.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/minimum.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/prod.h"
#include "tandem/ops/reciprocal.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/round.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/silu.h"
#include "tandem/ops/sin.h"
#include "tandem/ops/sinh.h"
#include "tandem/ops/softplus.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/tan.h"
#include "tandem/ops/tanh.h"
#include "tandem/ops/var.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using E = OnnxExporter;
using onnx::Attribute;
using Names = E::Names;

/// The dtypes that ONNX's arithmetic has and its runtimes compute.
bool arithmetic(DType d) { return is_floating(d) || d == i32 || d == i64; }

/// One operator on all inputs as the result's dtype.
template <class O>
bool point(E& e, const O&) {
  const DType d = e.out().dtype;
  if (!arithmetic(d)) return false;
  Names in;
  for (int i = 0; i < e.inputs(); ++i) in.push_back(e.in(i, d));
  return e.result(std::string(O::onnx.op), in);
}
/// Only of floating numbers.
template <class O>
bool floating(E& e, const O& op) {
  return is_floating(e.out().dtype) && point(e, op);
}
/// ONNX's sign of NaN is NaN, the record's is 0.
bool sign_(E& e, const Sign& op) {
  const DType d = e.out().dtype;
  if (!is_floating(d)) return point(e, op);
  const std::string x = e.in(0, d);
  return e.result("Where", {e.emit("IsNaN", {x}), e.scalar(0, d), e.emit("Sign", {x})});
}
template <class O>
bool rounding(E& e, const O& op) {
  return is_floating(e.out().dtype) ? point(e, op) : e.result("Identity", {e.in(0)});
}

/// The dtype in which a comparison's inputs meet.
DType common(E& e) {
  const DType a = e.dtype(0), b = e.dtype(1);
  // A number, or another tensor without axes, takes part by its kind only.
  auto kind = [](DType d) { return d == boolean ? 0 : is_floating(d) ? 2 : 1; };
  if (e.rank(0) == 0 && e.rank(1) > 0 && kind(a) <= kind(b)) return b;
  if (e.rank(1) == 0 && e.rank(0) > 0 && kind(b) <= kind(a)) return a;
  return promote(a, b);
}
template <class O>
bool comparison(E& e, const O&) {
  const DType d = common(e);
  if (!arithmetic(d)) return false;
  const Names in{e.in(0, d), e.in(1, d)};
  if constexpr (std::is_same_v<O, Ne>) return e.result("Not", {e.emit("Equal", in)});
  else return e.result(std::string(O::onnx.op), in);
}
template <class O>
bool logical(E& e, const O&) {
  Names in;
  for (int i = 0; i < e.inputs(); ++i) in.push_back(e.in(i, boolean));
  return e.result(std::string(O::onnx.op), in);
}

/// IsInf takes no 16-bit types.
std::string of_wide_type(E& e) { return e.in(0, e.dtype(0) == f64 ? f64 : f32); }
bool isfinite_(E& e, const Isfinite&) {
  if (!is_floating(e.dtype(0))) return false;
  const std::string x = of_wide_type(e);
  return e.result("Not", {e.emit("Or", {e.emit("IsNaN", {x}), e.emit("IsInf", {x})})});
}
template <class O>
bool test(E& e, const O&) {
  return is_floating(e.dtype(0)) && e.result(std::string(O::onnx.op), {of_wide_type(e)});
}

bool cast_(E& e, const Cast& op) {
  return e.result("Cast", {e.in(0)},
                  {Attribute::of("to", int32_t(onnx::to_element_type(op.dtype)))});
}
bool clone_(E& e, const Clone&) { return e.result("Identity", {e.in(0)}); }
bool copy_into(E& e, const CopyInto&) {
  return e.result("Expand", {e.in(1, e.out().dtype), e.shape(e.out().shape)});
}

bool where_(E& e, const Where&) {
  const DType d = e.out().dtype;
  return e.result("Where", {e.in(0, boolean), e.in(1, d), e.in(2, d)});
}
bool masked_fill_(E& e, const MaskedFill&) {
  const DType d = e.out().dtype;
  return e.result("Where", {e.in(1, boolean), e.in(2, d), e.in(0, d)});
}

bool clip(E& e, std::optional<Number> low, std::optional<Number> high) {
  const DType d = e.out().dtype;
  if (!arithmetic(d)) return false;
  return e.result("Clip",
                  {e.in(0, d), low ? e.scalar(*low, d) : "", high ? e.scalar(*high, d) : ""});
}
bool clamp_(E& e, const Clamp& op) { return clip(e, op.min, op.max); }
bool hardtanh_(E& e, const Hardtanh& op) { return clip(e, op.min_val, op.max_val); }

bool div_(E& e, const Div& op) {
  const DType d = e.out().dtype;
  if (op.rounding_mode == "none") return is_floating(d) && point(e, op);
  return op.rounding_mode == "trunc" && !is_floating(d) && point(e, op);
}
bool remainder_(E& e, const Remainder&) {
  const DType d = e.out().dtype;
  return (d == i32 || d == i64) && e.result("Mod", {e.in(0, d), e.in(1, d)});
}

bool square_(E& e, const Square&) {
  const DType d = e.out().dtype;
  if (!arithmetic(d)) return false;
  const std::string x = e.in(0, d);
  return e.result("Mul", {x, x});
}
bool rsqrt_(E& e, const Rsqrt&) {
  return e.result("Reciprocal", {e.emit("Sqrt", {e.in(0, e.out().dtype)})});
}
/// A function's node with one result.
onnx::Node made(std::string y, std::string op, Names in) {
  return {.op_type = std::move(op), .inputs = std::move(in), .outputs = {std::move(y)}};
}
/// A number of the type that `x` has.
void add_number(std::vector<onnx::Node>& body, const std::string& name, double value) {
  body.push_back(made(name + "_f32", "Constant", {}));
  body.back().attributes.push_back(Attribute::of("value", full({}, value, f32)));
  body.push_back(made(name, "CastLike", {name + "_f32", "x"}));
}
/// log(u) x / (u - 1) with u = 1 + x: the roundings of u cancel (Kahan; HP-15C handbook, 1982). x
/// itself where u is 1, and log(u) where u is too large to tell from u - 1.
bool log1p_(E& e, const Log1p&) {
  std::vector<onnx::Node> body;
  add_number(body, "one", 1);
  for (auto& n :
       {made("u", "Add", {"x", "one"}), made("d", "Sub", {"u", "one"}), made("log", "Log", {"u"}),
        made("small", "Equal", {"u", "one"}), made("large", "Equal", {"u", "d"}),
        made("by", "Where", {"small", "one", "d"}), made("share", "Div", {"x", "by"}),
        made("right", "Mul", {"log", "share"}), made("most", "Where", {"large", "log", "right"}),
        made("y", "Where", {"small", "x", "most"})})
    body.push_back(n);
  return e.record_as_function(e.in(0, e.out().dtype), std::move(body));
}
/// (u - 1) x / log(u) with u = e^x, for the same reason; u - 1 itself where it is -1 or u.
bool expm1_(E& e, const Expm1&) {
  std::vector<onnx::Node> body;
  add_number(body, "one", 1);
  add_number(body, "least", -1);
  for (auto& n :
       {made("u", "Exp", {"x"}), made("d", "Sub", {"u", "one"}),
        made("small", "Equal", {"u", "one"}), made("large", "Equal", {"u", "d"}),
        made("low", "Equal", {"d", "least"}), made("far", "Or", {"large", "low"}),
        made("plain", "Or", {"small", "far"}), made("log", "Log", {"u"}),
        made("by", "Where", {"plain", "one", "log"}), made("share", "Div", {"x", "by"}),
        made("right", "Mul", {"d", "share"}), made("most", "Where", {"far", "d", "right"}),
        made("y", "Where", {"small", "x", "most"})})
    body.push_back(n);
  return e.record_as_function(e.in(0, e.out().dtype), std::move(body));
}
bool round_(E& e, const Round& op) {
  return op.decimals == 0 && is_floating(e.out().dtype) && e.result("Round", {e.in(0)});
}
bool elu_(E& e, const Elu& op) {
  const DType d = e.out().dtype;
  const std::string x = e.in(0, d);
  if (is_exact(op.alpha, d)) return e.result("Elu", {x}, {Attribute::of("alpha", float(op.alpha))});
  const std::string below = e.emit("Mul", {e.emit("Elu", {x}), e.scalar(op.alpha, d)});
  return e.result("Where", {e.emit("Greater", {x, e.scalar(0, d)}), x, below});
}
bool leaky_relu_(E& e, const LeakyRelu& op) {
  const DType d = e.out().dtype;
  if (!is_exact(op.negative_slope, d))
    return e.result("PRelu", {e.in(0, d), e.scalar(op.negative_slope, d)});
  return e.result("LeakyRelu", {e.in(0, e.out().dtype)},
                  {Attribute::of("alpha", float(op.negative_slope))});
}
bool softplus_(E& e, const Softplus& op) {
  const DType d = e.out().dtype;
  if (op.threshold < 15) return false;  // below, the straight part is not the curve's
  if (op.beta == 1) return e.result("Softplus", {e.in(0, d)});
  const std::string beta = e.scalar(op.beta, d);
  return e.result("Div", {e.emit("Softplus", {e.emit("Mul", {e.in(0, d), beta})}), beta});
}
bool silu_(E& e, const Silu&) {
  return e.record_as_function(e.in(0, e.out().dtype),
                              {made("gate", "Sigmoid", {"x"}), made("y", "Mul", {"x", "gate"})});
}
bool gelu_(E& e, const Gelu& op) {
  const DType d = e.out().dtype;
  const std::string x = e.in(0, d);
  if (op.approximate == "tanh") {
    // (1 + tanh(z)) / 2 = sigmoid(2 z), which does not cancel for negative z.
    const std::string cube = e.emit("Mul", {e.emit("Mul", {x, x}), x});
    const std::string sum = e.emit("Add", {x, e.emit("Mul", {cube, e.scalar(0.044715, d)})});
    const std::string z = e.emit("Mul", {sum, e.scalar(2 * std::sqrt(2 / M_PI), d)});
    return e.result("Mul", {x, e.emit("Sigmoid", {z})});
  }
  std::vector<onnx::Node> body;
  add_number(body, "root", std::sqrt(2.0));
  add_number(body, "one", 1);
  add_number(body, "half", 0.5);
  for (auto& n : {made("scaled", "Div", {"x", "root"}), made("erf", "Erf", {"scaled"}),
                  made("gate", "Add", {"erf", "one"}), made("twice", "Mul", {"x", "gate"}),
                  made("y", "Mul", {"twice", "half"})})
    body.push_back(n);
  return e.record_as_function(x, std::move(body));
}

// --- Products -------------------------------------------------------------------------------

template <class O>
bool matmul_(E& e, const O&) {
  const DType d = e.out().dtype;
  return arithmetic(d) && e.result("MatMul", {e.in(0, d), e.in(1, d)});
}
bool linear_(E& e, const Linear&) {
  const DType d = e.out().dtype;
  if (!is_floating(d) || e.rank(1) != 2) return false;
  if (e.rank(0) == 2 && (!e.has(2) || e.rank(2) == 1))
    return e.result("Gemm", {e.in(0, d), e.in(1, d), e.in(2, d)}, {Attribute::of("transB", 1)});
  const Names in{e.in(0, d), e.transpose(e.in(1, d), {1, 0})};
  if (!e.has(2)) return e.result("MatMul", in);
  return e.result("Add", {e.emit("MatMul", in), e.in(2, d)});
}
bool addmm_(E& e, const Addmm& op) {
  const DType d = e.out().dtype;
  if (!is_floating(d) || !is_exact(op.alpha, d) || !is_exact(op.beta, d)) return false;
  return e.result("Gemm", {e.in(1, d), e.in(2, d), e.in(0, d)},
                  {Attribute::of("alpha", float(op.alpha)), Attribute::of("beta", float(op.beta))});
}
bool outer_(E& e, const Outer&) {
  const DType d = e.out().dtype;
  if (!arithmetic(d)) return false;
  return e.result("Mul", {e.emit("Unsqueeze", {e.in(0, d), e.ints({1})}),
                          e.emit("Unsqueeze", {e.in(1, d), e.ints({0})})});
}

// --- Reductions -----------------------------------------------------------------------------

std::vector<int64_t> every_axis(const Shape& axes, int rank) {
  std::vector<int64_t> all(axes.begin(), axes.end());
  for (int i = 0; axes.empty() && i < rank; ++i) all.push_back(i);
  return all;
}
E::Attributes reduction(E& e, const Shape& axes, bool keepdim) {
  return {Attribute::of("axes", every_axis(axes, e.rank(0))),
          Attribute::of("keepdims", int64_t(keepdim))};
}
template <class O>
bool reduce(E& e, const O& op) {
  const DType d = e.out().dtype;
  if (!arithmetic(d)) return false;
  if (e.rank(0) == 0) {
    if constexpr (!std::is_same_v<O, Logsumexp>) return e.result("Identity", {e.in(0, d)});
    return false;
  }
  if constexpr (std::is_same_v<O, Sum>)
    return e.result("ReduceSum", {e.in(0, d), e.ints(every_axis(op.axes, e.rank(0)))},
                    {Attribute::of("keepdims", int64_t(op.keepdim))});
  else return e.result(std::string(O::onnx.op), {e.in(0, d)}, reduction(e, op.axes, op.keepdim));
}
template <class O>
bool any_all(E& e, const O& op) {
  if (e.rank(0) == 0) return false;
  // By a count, which there is of nothing, too: of those that hold, or of those that do not.
  constexpr bool any = std::is_same_v<O, Any>;
  const std::string x = e.in(0, boolean), counted = any ? x : e.emit("Not", {x});
  const std::string count =
      e.emit("ReduceSum", {e.cast(counted, boolean, i64), e.ints(every_axis(op.axes, e.rank(0)))},
             {Attribute::of("keepdims", int64_t(op.keepdim))});
  return e.result("Cast", {e.emit(any ? "Greater" : "Equal", {count, e.scalar(int64_t(0), i64)})},
                  {Attribute::of("to", int32_t(onnx::to_element_type(e.out().dtype)))});
}
template <class O>
bool arg(E& e, const O& op) {
  if (!op.axis || e.rank(0) == 0 || !arithmetic(e.dtype(0))) return false;
  return e.result(
      std::is_same_v<O, Argmax> ? "ArgMax" : "ArgMin", {e.in(0)},
      {Attribute::of("axis", *op.axis), Attribute::of("keepdims", int64_t(op.keepdim))});
}
template <class O>
bool variance(E& e, const O& op) {
  const DType d = e.out().dtype;
  const Shape& s = e.spec(0).shape;
  if (!is_floating(d) || s.empty()) return false;
  Length n = 1;
  const std::vector<int64_t> axes = every_axis(op.axes, s.size());
  for (int64_t a : axes) n *= s[int(a < 0 ? a + s.size() : a)];
  if (n.is_known() && double(n) <= op.correction) return false;
  // In f64, as the record: squares neither overflow nor lose what the mean lost.
  const std::string x = e.in(0, f64);
  const std::string mean =
      e.emit("ReduceMean", {x}, {Attribute::of("axes", axes), Attribute::of("keepdims", 1)});
  const std::string sum =
      e.emit("ReduceSumSquare", {e.emit("Sub", {x, mean})}, reduction(e, op.axes, op.keepdim));
  std::string divisor = e.scalar(Number(n) - op.correction, f64);
  if (!n.is_known()) divisor = e.emit("Max", {divisor, e.scalar(0.0, f64)});
  std::string y = e.emit("Div", {sum, divisor});
  if constexpr (std::is_same_v<O, Std>) y = e.emit("Sqrt", {y});
  if (d == f64) return e.result("Identity", {y});
  return e.result("Cast", {y}, {Attribute::of("to", int32_t(onnx::to_element_type(d)))});
}
bool cumsum_(E& e, const Cumsum& op) {
  const DType d = e.out().dtype;
  if (e.rank(0) == 0 || !arithmetic(d)) return false;
  return e.result("CumSum", {e.in(0, d), e.scalar(double(op.axis), i64)});
}

}  // namespace

void add_math_rules(OnnxRules& r) {
  r.add<Abs>(point), r.add<Sign>(sign_), r.add<Add>(point), r.add<Sub>(point), r.add<Mul>(point);
  r.add<Neg>(point), r.add<Pow>(point), r.add<Minimum>(point), r.add<Maximum>(point);
  r.add<Relu>(point), r.add<Erf>(floating), r.add<Exp>(floating), r.add<Log>(floating);
  r.add<Sqrt>(floating), r.add<Reciprocal>(floating), r.add<Sigmoid>(floating);
  r.add<Tanh>(floating), r.add<Sin>(floating), r.add<Cos>(floating);
  r.add<Tan>(floating), r.add<Asin>(floating), r.add<Acos>(floating), r.add<Atan>(floating);
  r.add<Sinh>(floating), r.add<Cosh>(floating), r.add<Asinh>(floating), r.add<Acosh>(floating);
  r.add<Atanh>(floating), r.add<Det>(floating);
  r.add<Floor>(rounding), r.add<Ceil>(rounding), r.add<Round>(round_);
  r.add<Eq>(comparison), r.add<Ne>(comparison), r.add<Lt>(comparison), r.add<Le>(comparison);
  r.add<Gt>(comparison), r.add<Ge>(comparison);
  r.add<LogicalAnd>(logical), r.add<LogicalOr>(logical), r.add<LogicalXor>(logical);
  r.add<LogicalNot>(logical);
  r.add<Isnan>(test), r.add<Isinf>(test), r.add<Isfinite>(isfinite_);
  r.add<Cast>(cast_), r.add<Clone>(clone_), r.add<CopyInto>(copy_into);
  r.add<Where>(where_), r.add<MaskedFill>(masked_fill_);
  r.add<Clamp>(clamp_), r.add<Hardtanh>(hardtanh_), r.add<Div>(div_), r.add<Remainder>(remainder_);
  r.add<Square>(square_), r.add<Rsqrt>(rsqrt_), r.add<Log1p>(log1p_), r.add<Expm1>(expm1_);
  r.add<Elu>(elu_), r.add<LeakyRelu>(leaky_relu_), r.add<Softplus>(softplus_);
  r.add<Silu>(silu_), r.add<Gelu>(gelu_);
  r.add<Matmul>(matmul_), r.add<Bmm>(matmul_), r.add<Linear>(linear_), r.add<Addmm>(addmm_);
  r.add<Outer>(outer_);
  r.add<Sum>(reduce), r.add<Mean>(reduce), r.add<Amax>(reduce), r.add<Amin>(reduce);
  r.add<Prod>(reduce), r.add<Logsumexp>(reduce), r.add<Any>(any_all), r.add<All>(any_all);
  r.add<Argmax>(arg), r.add<Argmin>(arg), r.add<Var>(variance), r.add<Std>(variance);
  r.add<Cumsum>(cumsum_);
}

}  // namespace tandem::detail
