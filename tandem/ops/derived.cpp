#include "tandem/ops/derived.h"

#include <cmath>
#include <numbers>

#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/any.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/isnan.h"
#include "tandem/ops/log.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/smooth_l1_loss.h"
#include "tandem/ops/sort.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/where.h"

namespace tandem {
namespace {

/// `axis` from the front. Errors: IndexError.
int place(const char* op, int axis, const Tensor& x) {
  const int n = std::max(x.dim(), 1);
  require<IndexError>(axis >= -n && axis < n, op, ": axis ", axis, " is out of range [", -n, ", ",
                      n - 1, "] for shape ", x.shape());
  return axis < 0 ? axis + n : axis;
}

}  // namespace

Tensor log2(const Tensor& x) { return log(x) / std::numbers::ln2; }
Tensor log10(const Tensor& x) { return log(x) / std::numbers::ln10; }

Tensor norm(const Tensor& x, double p, const Shape& axes, bool keepdim) {
  require<DTypeError>(is_floating(x.dtype()), "norm(): takes floating types, got ", x.dtype());
  if (p == 0) return sum(cast(x != 0, x.dtype()), axes, keepdim);
  if (std::isinf(p)) return p > 0 ? amax(abs(x), axes, keepdim) : amin(abs(x), axes, keepdim);
  if (p == 1) return sum(abs(x), axes, keepdim);
  // The root of nothing has an infinite slope: there the gradient is that of a constant.
  const Tensor total = sum(p == 2 ? square(x) : pow(abs(x), p), axes, keepdim);
  const Tensor nothing = total == 0, safe = where(nothing, ones_like(total), total);
  const Tensor root = p == 2 ? sqrt(safe) : pow(safe, 1 / p);
  return where(nothing, zeros_like(total), root);
}

Tensor isclose(const Tensor& x, const Tensor& y, const Tolerance& tolerance) {
  const double rtol = tolerance.rtol, atol = tolerance.atol;
  require<DTypeError>(x.dtype() == y.dtype(), "isclose(): takes equal dtypes, got ", x.dtype(),
                      " and ", y.dtype());
  require(rtol >= 0 && atol >= 0, "isclose(rtol=", rtol, ", atol=", atol,
          "): tolerances must not be negative");
  Tensor close = x == y;
  if (tolerance.equal_nan && is_floating(x.dtype())) close = close | (isnan(x) & isnan(y));
  if (rtol == 0 && atol == 0) return close;
  const DType wide = is_floating(x.dtype()) ? x.dtype() : f64;
  const Tensor a = cast(x, wide), b = cast(y, wide);
  const Tensor difference = abs(a - b);
  return close | (isfinite(difference) & (difference <= atol + abs(rtol * b)));
}

bool allclose(const Tensor& x, const Tensor& y, const Tolerance& tolerance) {
  return all(isclose(x, y, tolerance)).item<bool>();
}

Tensor unique(const Tensor& x) {
  const Tensor sorted = sort(reshape(x.detach(), {-1}), 0).values;
  const Length n = sorted.size(0);
  if (n < 2) return sorted;
  const Tensor first = narrow(sorted, 0, 0, 1);
  const Tensor later = narrow(sorted, 0, 1, n - 1), before = narrow(sorted, 0, 0, n - 1);
  return cat({first, masked_select(later, later != before)});
}

Tensor repeat_interleave(const Tensor& x, int64_t repeats, std::optional<int> axis) try {
  require(repeats >= 0, "repeat_interleave(repeats=", repeats, "): must not be negative");
  if (!axis || x.dim() == 0) return repeat_interleave(reshape(x, {-1}), repeats, 0);
  const int at = place("repeat_interleave()", *axis, x);
  Shape wide = x.shape(), result = x.shape();
  wide.insert(at + 1, repeats);
  result[at] = result[at] * repeats;
  return reshape(expand(unsqueeze(x, at + 1), wide), result);
} catch (const ShapeError&) {
  detail::rethrow_for(cat("repeat_interleave(repeats=", repeats, ")"));
}

Tensor repeat_interleave(const Tensor& x, const Tensor& repeats, std::optional<int> axis) try {
  if (!axis || x.dim() == 0) return repeat_interleave(reshape(x, {-1}), repeats, 0);
  const int at = place("repeat_interleave()", *axis, x);
  require<DTypeError>(repeats.dtype() == i64 || repeats.dtype() == i32,
                      "repeat_interleave(): repeats must be i64 or i32, got ", repeats.dtype());
  if (repeats.dim() == 0) return repeat_interleave(x, repeats.item<int64_t>(), at);
  require<ShapeError>(repeats.dim() == 1, "repeat_interleave(): repeats must have one axis, got ",
                      repeats.shape());
  const std::vector<int64_t> times = repeats.to_vector<int64_t>();
  if (times.size() == 1) return repeat_interleave(x, times[0], at);
  require<ShapeError>(int64_t(times.size()) == x.size(at), "repeat_interleave(): ", times.size(),
                      " repeats for axis ", at, " of shape ", x.shape());
  Length n = 0;
  for (const int64_t k : times) {
    require(k >= 0, "repeat_interleave(): repeats must not be negative, got ", k);
    n += k;
  }
  const Tensor from = empty(Spec{{n}, i64, {}});
  auto* to = from.data<int64_t>();
  for (size_t i = 0; i < times.size(); ++i) to = std::fill_n(to, times[i], int64_t(i));
  return index_select(x, at, from);
} catch (const Error&) {
  detail::rethrow_for("repeat_interleave()");
}

Tensor masked_scatter(const Tensor& x, const Tensor& mask, const Tensor& source) {
  require<DTypeError>(x.dtype() == source.dtype(), "masked_scatter(): source must be ", x.dtype(),
                      ", got ", source.dtype());
  Shape shape;
  require<ShapeError>(broadcast(x.shape(), mask.shape(), shape), "masked_scatter(): mask ",
                      mask.shape(), " does not broadcast with shape ", x.shape());
  const Tensor whole = expand(x, shape), places = nonzero(expand(mask, shape));
  const Length n = places.size(0);
  require<ShapeError>(detail::may_fit(n, source.numel()), "masked_scatter(): the mask picks ", n,
                      " elements, but source has ", source.numel());
  if (shape.empty()) return n == 0 ? whole : reshape(narrow(reshape(source, {-1}), 0, 0, 1), {});
  Tensors index;
  for (int i = 0; i < shape.size(); ++i) index.push_back(select(places, 1, i));
  return index_put(whole, Inputs(index.data(), index.size()),
                   narrow(reshape(source, {-1}), 0, 0, n));
}

Tensor dot(const Tensor& x, const Tensor& y) {
  require<ShapeError>(x.dim() == 1 && y.dim() == 1, "dot(): takes two tensors of one axis, got ",
                      x.shape(), " and ", y.shape());
  return matmul(x, y);
}

Tensor unflatten(const Tensor& x, int axis, const Shape& lengths) try {
  const int at = place("unflatten()", axis, x);
  require<ShapeError>(x.dim() > 0 && !lengths.empty(), "unflatten(axis=", axis,
                      ", lengths=", lengths, "): needs an axis and lengths, got shape ", x.shape());
  Shape shape, parts = lengths;
  Length known = 1;
  int open = -1;
  for (int i = 0; i < parts.size(); ++i) {
    const bool inferred = parts[i].is_known() && parts[i] == -1;
    require<ShapeError>((inferred && open < 0) || detail::may_fit(0, parts[i]),
                        "unflatten(axis=", axis, ", lengths=", lengths,
                        "): one length may be -1, none else below 0");
    if (inferred) open = i;
    else known = known * parts[i];
  }
  const bool divides = open < 0 || (known.is_known() && known == 0)
                           ? open < 0
                           : detail::may_equal(x.shape()[at] % known, 0);
  if (open >= 0 && divides) parts[open] = x.shape()[at] / known;
  require<ShapeError>(divides && detail::may_equal(parts.numel(), x.shape()[at]),
                      "unflatten(axis=", axis, ", lengths=", lengths, "): does not fit shape ",
                      x.shape());
  for (int i = 0; i < at; ++i) shape.push_back(x.shape()[i]);
  for (Length n : parts) shape.push_back(n);
  for (int i = at + 1; i < x.dim(); ++i) shape.push_back(x.shape()[i]);
  return reshape(x, shape);
} catch (const ShapeError&) {
  detail::rethrow_for(cat("unflatten(axis=", axis, ", lengths=", lengths, ")"));
}

Tensor huber_loss(const Tensor& x, const Tensor& target, std::string_view reduction, double delta) {
  require(delta > 0, "huber_loss(delta=", delta, "): delta must be positive");
  return smooth_l1_loss(x, target, reduction, delta) * delta;
}

}  // namespace tandem
