#include "tandem/graph/plan_check.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/tape.h"

namespace tandem::graph {
namespace {

/// As f64, row by row; whole numbers and others that it does not hold keep their order.
Tensor numbers(const Tensor& t) { return detail::as_contiguous(t, f64); }

double largest(const Tensor& t) {
  double most = 0;
  const Tensor n = numbers(t);
  const double* p = n.data<double>();
  for (int64_t i = 0; i < n.numel(); ++i)
    if (std::isfinite(p[i])) most = std::max(most, std::abs(p[i]));
  return most;
}

/// Far beyond roundings of sums in another order, and far below what wrong memory makes.
double roundings(DType d) {
  if (!is_floating(d)) return 0;
  return d == f64 ? 1e-9 : d == f32 ? 1e-3 : 5e-2;
}

}  // namespace

std::string rounding_difference(const Tensor& got, const Tensor& want, double scale) {
  const Tensor a = numbers(got), b = numbers(want);
  const double bound = roundings(want.dtype()) * std::max(largest(want), scale);
  for (int64_t i = 0; i < b.numel(); ++i) {
    const double x = a.data<double>()[i], y = b.data<double>()[i];
    if (x == y || (std::isnan(x) && std::isnan(y)) || std::abs(x - y) <= bound) continue;
    // What overflows in one order of a sum need not in another.
    if (is_floating(want.dtype()) && !std::isfinite(x) && !std::isfinite(y)) continue;
    return cat("element ", i, " is ", x, " and ", y, " of operands that lie row by row");
  }
  return {};
}

StepCheck::StepCheck(const OpInfo& info, const void* op, Inputs in, Outputs out)
    : info_(info), op_(op), out_(out) {
  for (const Tensor& t : out)
    if (!t.is_contiguous())
      throw Error(cat("plan: a result of ", info.print(op),
                      " does not lie row by row; its strides are ", t.strides()));
  const bool all_rows = std::all_of(
      in.begin(), in.end(), [](const Tensor& t) { return !t.defined() || t.is_contiguous(); });
  if (all_rows) return;
  for (const Tensor& t : in) {
    if (!t.defined()) {
      rows_.push_back(t);
      continue;
    }
    Tensor copy = empty(t.spec());
    detail::copy_data(copy, t);
    copy.impl()->flags |= t.impl()->flags & TensorImpl::wrapped_number;
    rows_.push_back(copy);
  }
}

void StepCheck::compare() const {
  if (rows_.empty()) return;
  double scale = 0;
  for (const Tensor& t : rows_)
    if (t.defined() && is_floating(t.dtype())) scale = std::max(scale, largest(t));
  Tensors again;
  for (const Tensor& t : out_) again.push_back(empty(t.spec()));
  info_.cpu(op_, {rows_.data(), rows_.size()}, {again.data(), again.size()});
  for (size_t i = 0; i < again.size(); ++i) {
    const std::string s = rounding_difference(out_[i], again[i], scale);
    if (!s.empty())
      throw Error(cat("plan: ", info_.print(op_),
                      " does not read its operands as they lie: of result ", i, " ", s));
  }
}

void check_inside(ValueId id, const Tensor& part, int64_t offset, const Tensor& whole) {
  if (part.numel() == 0) return;
  const auto ends = [](const Tensor& t) {
    int64_t low = 0, high = 0;
    for (int a = 0; a < t.dim(); ++a) {
      const int64_t span = (t.shape()[a] - 1) * int64_t(t.strides()[a]);
      (span < 0 ? low : high) += span;
    }
    return std::pair(low, high);
  };
  const auto [low, high] = ends(part);
  const auto [first, last] = ends(whole);
  const int64_t at = offset / itemsize(part.dtype());
  require<Error>(whole.numel() > 0 && at + low >= first && at + high <= last, "plan: value %", id,
                 ", a view of shape ", part.shape(), " and strides ", part.strides(),
                 " from element ", at, " on, looks beyond the ", whole.shape(),
                 " that it is a view of");
}

}  // namespace tandem::graph
