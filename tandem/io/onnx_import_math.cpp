// ONNX's elementwise operators, products and reductions as records.
#include <cmath>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/bitwise.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/det.h"
#include "tandem/ops/div.h"
#include "tandem/ops/elu.h"
#include "tandem/ops/erf.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/expm1.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/floor.h"
#include "tandem/ops/gelu.h"
#include "tandem/ops/hardtanh.h"
#include "tandem/ops/isnan.h"
#include "tandem/ops/leaky_relu.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/log.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/logsumexp.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/minimum.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/prod.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reciprocal.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/round.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/silu.h"
#include "tandem/ops/sin.h"
#include "tandem/ops/sinh.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/softplus.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/tan.h"
#include "tandem/ops/tanh.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

/// f of input 0.
template <Tensor (*f)(const Tensor&)>
Tensors unary(I& n) {
  return {f(n.in(0))};
}

/// Input `i` for arithmetic with input 0. Before operator set 7 the smaller one could be placed at
/// an axis.
Tensor second(I& n) {
  Tensor y = n.in(1);
  if (n.opset() >= 7 || !n.integer("broadcast", 0)) return y;
  const int64_t axis = n.integer("axis", -1), rank = n.in(0).dim();
  if (axis < 0) return y;
  Shape shape = y.shape();
  n.need(axis + shape.size() <= rank, "axis ", axis, " is out of range");
  while (axis + shape.size() < rank) shape.push_back(1);
  return reshape(y, shape);
}
template <Tensor (*f)(const Tensor&, const Tensor&)>
Tensors binary(I& n) {
  return {f(n.in(0), second(n))};
}
template <Tensor (*f)(const Tensor&, const Tensor&)>
Tensors fold(I& n) {
  Tensor y = n.in(0);
  for (int i = 1; i < n.inputs(); ++i) y = f(y, n.in(i));
  return {y};
}
GraphValues equal(I& n) {
  if (n.any_in(0).texts) return {equal_texts(n)};
  return {eq(n.in(0), second(n))};
}
Tensors mean_of(I& n) { return {fold<add>(n)[0] / double(n.inputs())}; }

Tensors divide(I& n) {
  const Tensor x = n.in(0), y = second(n);
  return {is_floating(x.dtype()) ? x / y : div(x, y, "trunc")};
}
Tensors modulo(I& n) {
  const Tensor x = n.in(0), y = n.in(1);
  if (!n.flag("fmod", false)) return {remainder(x, y)};
  if (!is_floating(x.dtype())) return {x - div(x, y, "trunc") * y};
  return {sign(x) * remainder(abs(x), abs(y))};
}
Tensors power(I& n) { return {cast(pow(n.in(0), second(n)), n.in(0).dtype())}; }
Tensors negate(I& n) { return {-n.in(0)}; }
/// 1 at the first largest element along an axis, 0 elsewhere.
Tensors hardmax(I& n) {
  const Tensor x = n.in(0);
  int64_t axis = n.integer("axis", n.opset() < 13 ? 1 : -1);
  n.need(axis >= -x.dim() && axis < std::max(x.dim(), 1), "axis ", axis, " is out of range");
  if (axis < 0) axis += x.dim();
  Tensor rows = x;  // older operator sets flatten to a matrix first
  if (n.opset() < 13 && axis < x.dim() - 1) {
    int64_t columns = 1;
    for (int i = int(axis); i < x.dim(); ++i) columns *= x.size(i);
    rows = reshape(x, {columns ? int64_t(x.numel()) / columns : 0, columns});
    axis = 1;
  }
  const int at = int(axis);
  const Tensor line = reshape(arange(rows.size(at)), along_axis(rows.dim(), at, rows.size(at)));
  const Tensor hit = argmax(rows, axis, true) == line;
  return {reshape(cast(hit, x.dtype()), x.shape())};
}
/// Both inputs' bits moved; the dtype is unsigned.
Tensors bit_shift(I& n) {
  const std::string way = n.text("direction", "");
  n.need(way == "LEFT" || way == "RIGHT", "direction ", way);
  return {way == "LEFT" ? bitwise_left_shift(n.in(0), n.in(1))
                        : bitwise_right_shift(n.in(0), n.in(1))};
}
/// NaN stays NaN.
Tensors sign_(I& n) {
  const Tensor x = n.in(0);
  return {is_floating(x.dtype()) ? where(isnan(x), x, sign(x)) : sign(x)};
}
Tensors ceil_(I& n) { return {is_floating(n.in(0).dtype()) ? ceil(n.in(0)) : n.in(0)}; }
Tensors round_(I& n) { return {round(n.in(0))}; }
Tensors is_inf(I& n) {
  const Tensor x = n.in(0);
  const bool up = n.flag("detect_positive", true), down = n.flag("detect_negative", true);
  if (up && down) return {isinf(x)};
  if (!up && !down) return {logical_and(isinf(x), full({}, 0, boolean))};
  return {logical_and(isinf(x), up ? x > 0.0 : x < 0.0)};
}

}  // namespace

DType dtype_of(I& n, int64_t type) {
  const auto d = onnx::to_dtype(onnx::ElementType(type));
  if (!d) n.unsupported("elements of ", onnx::name(onnx::ElementType(type)));
  return *d;
}

namespace {

Tensors where_(I& n) { return {where(n.in(0), n.in(1), n.in(2))}; }
Tensors clip(I& n) {
  const Tensor x = n.in(0);
  if (n.opset() < 11) {
    const bool low = n.attribute("min"), high = n.attribute("max");
    return {clamp(x, low ? std::optional(n.real("min", 0)) : std::nullopt,
                  high ? std::optional(n.real("max", 0)) : std::nullopt)};
  }
  const bool bounds_known = (!n.has(1) || !n.in(1).is_symbolic()) &&
                            (!n.has(2) || !n.in(2).is_symbolic()) && is_floating(x.dtype());
  if (!n.has(1) && !n.has(2)) return {x};
  if (bounds_known)
    return {clamp(x, n.has(1) ? std::optional(n.number(1)) : std::nullopt,
                  n.has(2) ? std::optional(n.number(2)) : std::nullopt)};
  Tensor y = x;
  if (n.has(1)) y = maximum(y, n.in(1));
  if (n.has(2)) y = minimum(y, n.in(2));
  return {y};
}

// --- Activations ------------------------------------------------------------------------------

Tensors elu_(I& n) { return {elu(n.in(0), n.real("alpha", 1))}; }
Tensors celu(I& n) {
  const double alpha = n.real("alpha", 1);
  return {elu(n.in(0) / alpha, 1) * alpha};
}
Tensors selu(I& n) {
  return {elu(n.in(0), n.real("alpha", 1.67326319217681884765625)) *
          n.real("gamma", 1.05070102214813232421875)};
}
Tensors leaky(I& n) { return {leaky_relu(n.in(0), n.real("alpha", 0.01f))}; }
Tensors prelu(I& n) {
  const Tensor x = n.in(0), zero = full({}, 0, x.dtype());
  Tensor slope = n.in(1);
  if (n.opset() < 7 && slope.dim() == 1 && x.dim() > 2)  // one a channel
    slope = reshape(slope, along_axis(x.dim() - 1, 0, slope.size(0)));
  return {where(x < zero, x * slope, x)};
}
Tensors thresholded(I& n) {
  const Tensor x = n.in(0);
  return {where(x > n.real("alpha", 1), x, full({}, 0, x.dtype()))};
}
Tensors hard_sigmoid(I& n) {
  return {clamp(n.in(0) * n.real("alpha", 0.2f) + n.real("beta", 0.5), 0.0, 1.0)};
}
Tensors hard_swish(I& n) { return {n.in(0) * clamp(n.in(0) * (1.0 / 6) + 0.5, 0.0, 1.0)}; }
Tensors shrink(I& n) {
  const Tensor x = n.in(0);
  const double lambda = n.real("lambd", 0.5), bias = n.real("bias", 0);
  const Tensor zero = full({}, 0, x.dtype());
  const Tensor y = where(x < -lambda, x + bias, where(x > lambda, x - bias, zero));
  return {cast(y, x.dtype())};
}
Tensors softplus_(I& n) { return {softplus(n.in(0))}; }
Tensors softsign(I& n) { return {n.in(0) / (abs(n.in(0)) + 1.0)}; }
Tensors swish(I& n) { return {n.in(0) * sigmoid(n.in(0) * n.real("alpha", 1))}; }
Tensors mish(I& n) { return {n.in(0) * tanh(softplus(n.in(0)))}; }
Tensors gelu_(I& n) { return {gelu(n.in(0), n.text("approximate", "none"))}; }

// --- Products ---------------------------------------------------------------------------------

Tensors gemm(I& n) {
  Tensor a = n.in(0), b = n.in(1);
  const double alpha = n.real("alpha", 1), beta = n.real("beta", 1);
  const bool ta = n.flag("transA", false), tb = n.flag("transB", false);
  n.need(a.dim() == 2 && b.dim() == 2, "takes matrices, got shapes ", a.shape(), " and ",
         b.shape());
  if (ta) a = transpose(a, 0, 1);
  const Tensor c = n.in_or_none(2);
  if (tb && alpha == 1 && beta == 1 && is_floating(a.dtype()) &&
      (!c.defined() || (c.dim() == 1 && c.size(0) == b.size(0))))
    return {linear(a, b, c)};
  if (tb) b = transpose(b, 0, 1);
  // Matrices times a factor of 0 are not read.
  if (c.defined() && (alpha != 1 || beta != 1) && is_floating(a.dtype()))
    return {addmm(c, a, b, beta, alpha)};
  Tensor y = matmul(a, b);
  if (alpha != 1) y = y * alpha;
  if (c.defined() && beta != 0) y = y + (beta == 1 ? c : c * beta);
  return {y};
}

// --- Reductions -------------------------------------------------------------------------------

struct Reduction {
  Shape axes;
  bool keep, nothing = false;
};
Reduction reduction(I& n) {
  Reduction r{{}, n.flag("keepdims", true)};
  for (int64_t a : n.list("axes", 1).value_or(std::vector<int64_t>())) r.axes.push_back(a);
  r.nothing = r.axes.empty() && n.flag("noop_with_empty_axes", false);
  if (n.in(0).dim() == 0) r.nothing = true;
  return r;
}
template <Tensor (*f)(const Tensor&, const Shape&, bool)>
Tensors reduce(I& n) {
  const Reduction r = reduction(n);
  return {r.nothing ? n.in(0) : cast(f(n.in(0), r.axes, r.keep), n.in(0).dtype())};
}
/// Means of integers are cut off towards zero.
Tensors reduce_mean(I& n) {
  const Tensor x = n.in(0);
  const Reduction r = reduction(n);
  if (r.nothing || is_floating(x.dtype())) return {r.nothing ? x : mean(x, r.axes, r.keep)};
  const Tensor total = sum(x, r.axes, r.keep);
  const int64_t count = total.numel() ? int64_t(x.numel() / total.numel()) : 1;
  n.need(count > 0, "no elements in shape ", x.shape());
  return {cast(div(total, full({}, count, i64), "trunc"), x.dtype())};
}
/// The largest of no elements is the least number there is, and the other way about.
template <bool largest>
Tensors extreme(I& n) {
  const Tensor x = n.in(0);
  const Reduction r = reduction(n);
  if (r.nothing) return {x};
  const Tensor y = x.numel() ? Tensor() : sum(x, r.axes, r.keep);
  if (!y.defined()) return {(largest ? amax : amin)(x, r.axes, r.keep)};
  const DType d = x.dtype();
  if (y.numel() == 0) return {cast(y, d)};
  double end = std::numeric_limits<double>::infinity();
  if (!is_floating(d)) {
    n.need(is_integral(d) && itemsize(d) < 8, "no elements in shape ", x.shape());
    const bool has_sign = d == i8 || d == i16 || d == i32;
    const double span = std::ldexp(1.0, int(itemsize(d)) * 8);
    end = largest ? (has_sign ? span / 2 : 0) : (has_sign ? span / 2 : span) - 1;
  }
  return {full(y.shape(), largest ? -end : end, d)};
}
Tensor l1(const Tensor& x, const Shape& axes, bool keep) { return sum(abs(x), axes, keep); }
Tensor sum_square(const Tensor& x, const Shape& axes, bool keep) {
  return sum(square(x), axes, keep);
}
Tensor l2(const Tensor& x, const Shape& axes, bool keep) { return sqrt(sum_square(x, axes, keep)); }
Tensor log_sum(const Tensor& x, const Shape& axes, bool keep) { return log(sum(x, axes, keep)); }
/// Those of one number are no copies.
template <Tensor (*point)(const Tensor&), Tensor (*f)(const Tensor&, const Shape&, bool)>
Tensors reduce_of(I& n) {
  const Reduction r = reduction(n);
  const Tensor x = n.in(0);
  return {r.nothing ? cast(point(x), x.dtype()) : cast(f(x, r.axes, r.keep), x.dtype())};
}
Tensor same(const Tensor& x) { return x; }

template <Tensor (*f)(const Tensor&, std::optional<int64_t>, bool)>
Tensors arg(I& n) {
  Tensor x = n.in(0);
  const int64_t axis = n.integer("axis", 0);
  const bool keep = n.flag("keepdims", true);
  if (!n.flag("select_last_index", false)) return {f(x, axis, keep)};
  const Tensor back = f(flip(x, {axis}), axis, keep);
  return {(x.size(int(axis)) - 1) - back};
}
Tensor add_(const Tensor& x, const Tensor& y) { return x + y; }
Tensor sub_(const Tensor& x, const Tensor& y) { return x - y; }

}  // namespace

void add_math_imports(OnnxImports& t) {
  t.insert({{"Abs", unary<abs>},
            {"Ceil", ceil_},
            {"Cos", unary<cos>},
            {"Erf", unary<erf>},
            {"Exp", unary<exp>},
            {"Floor", unary<floor>},
            {"IsNaN", unary<isnan>},
            {"Log", unary<log>},
            {"Not", unary<logical_not>},
            {"Reciprocal", unary<reciprocal>},
            {"Relu", unary<relu>},
            {"Sigmoid", unary<sigmoid>},
            {"Sign", sign_},
            {"Sin", unary<sin>},
            {"Sqrt", unary<sqrt>},
            {"Tanh", unary<tanh>},
            {"Neg", negate},
            {"Tan", unary<tan>},
            {"Asin", unary<asin>},
            {"Acos", unary<acos>},
            {"Atan", unary<atan>},
            {"Sinh", unary<sinh>},
            {"Cosh", unary<cosh>},
            {"Asinh", unary<asinh>},
            {"Acosh", unary<acosh>},
            {"Atanh", unary<atanh>},
            {"BitwiseNot", unary<bitwise_not>},
            {"Det", unary<det>},
            {"Hardmax", hardmax},
            {"Round", round_},
            {"IsInf", is_inf}});
  t.insert({{"Add", binary<add_>},
            {"Sub", binary<sub_>},
            {"Mul", binary<mul>},
            {"Div", divide},
            {"Mod", modulo},
            {"Pow", power},
            {"Sum", fold<add>},
            {"Min", fold<minimum>},
            {"Max", fold<maximum>},
            {"Mean", mean_of},
            {"And", binary<logical_and>},
            {"Or", binary<logical_or>},
            {"Xor", binary<logical_xor>},
            {"BitwiseAnd", binary<bitwise_and>},
            {"BitwiseOr", binary<bitwise_or>},
            {"BitwiseXor", binary<bitwise_xor>},
            {"BitShift", bit_shift},
            {"Equal", equal},
            {"Less", binary<lt>},
            {"LessOrEqual", binary<le>},
            {"Greater", binary<gt>},
            {"GreaterOrEqual", binary<ge>},
            {"Where", where_},
            {"Clip", clip}});
  t.insert({{"Elu", elu_},
            {"Celu", celu},
            {"Selu", selu},
            {"LeakyRelu", leaky},
            {"PRelu", prelu},
            {"ThresholdedRelu", thresholded},
            {"Shrink", shrink},
            {"HardSigmoid", hard_sigmoid},
            {"HardSwish", hard_swish},
            {"Softplus", softplus_},
            {"Softsign", softsign},
            {"Swish", swish},
            {"Mish", mish},
            {"Gelu", gelu_},
            {"MatMul", binary<matmul>},
            {"Gemm", gemm}});
  t.insert({{"ReduceSum", reduce<sum>},
            {"ReduceMean", reduce_mean},
            {"ReduceMax", extreme<true>},
            {"ReduceMin", extreme<false>},
            {"ReduceProd", reduce<prod>},
            {"ReduceL1", reduce_of<abs, l1>},
            {"ReduceL2", reduce_of<abs, l2>},
            {"ReduceSumSquare", reduce_of<square, sum_square>},
            {"ReduceLogSum", reduce_of<log, log_sum>},
            {"ReduceLogSumExp", reduce_of<same, logsumexp>},
            {"ArgMax", arg<argmax>},
            {"ArgMin", arg<argmin>}});
}

}  // namespace tandem::detail
