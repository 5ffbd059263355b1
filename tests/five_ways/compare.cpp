#include "tests/five_ways/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tandem/op/copy.h"
#include "tests/five_ways/runs.h"

namespace tandem::five_ways {
namespace {

constexpr int disturbances = 6;
constexpr double infinity = std::numeric_limits<double>::infinity();

std::string spec_difference(const Tensor& got, const Tensor& want) {
  if (got.defined() != want.defined())
    return got.defined() ? "is defined but should not be" : "is undefined but should not be";
  if (!got.defined()) return "";
  if (!(got.shape() == want.shape()) || got.dtype() != want.dtype())
    return cat("is ", to_string(got.spec()), ", should be ", to_string(want.spec()));
  return "";
}

double element(const Tensor& flat, int64_t i) {
  return is_floating(flat.dtype()) ? flat.data<double>()[i] : double(flat.data<int64_t>()[i]);
}
/// Row-major, as f64 or i64.
Tensor plain_numbers(const Tensor& t) {
  return detail::as_contiguous(t, is_floating(t.dtype()) ? f64 : i64);
}

bool close(double a, double b, double bound) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return std::abs(a - b) <= bound;
}

std::string place(int64_t i, const Shape& shape) {
  Shape at = shape;
  for (int d = shape.size() - 1; d >= 0; --d) {
    at[d] = i % shape[d];
    i /= shape[d];
  }
  return to_string(at);
}

/// The floating type of the fewest digits that a gradient of type `own` comes through.
DType coarsest(const Program& p, DType own) {
  constexpr DType by_digits[] = {f64, f32, f16, bf16};
  auto rank = [&](DType d) { return std::find(by_digits, by_digits + 3, d) - by_digits; };
  auto meet = [&](DType d) {
    if (is_floating(d) && rank(d) > rank(own)) own = d;
  };
  for (const Input& in : p.inputs) meet(in.dtype);
  each_step(p.steps, [&](const Step& s) {
    for (const auto& [name, value] : s.attributes)
      if (const DType* d = std::get_if<DType>(&value)) meet(*d);
  });
  return own;
}

/// As testing::difference, with an allowance of its own for each element.
std::string difference(const Tensor& got, const Tensor& want, const std::vector<double>& slack,
                       DType roundings) {
  const Tensor a = plain_numbers(got), b = plain_numbers(want);
  const testing::Tolerance tol = testing::tolerance_of(roundings) * 4;
  double largest = 0;
  for (int64_t i = 0; i < b.numel(); ++i)
    if (const double y = std::abs(element(b, i)); std::isfinite(y)) largest = std::max(largest, y);
  int64_t wrong = 0;
  std::string first;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double x = element(a, i), y = element(b, i);
    if (slack[size_t(i)] == infinity) continue;
    const double bound = tol.relative * std::abs(y) + tol.normwise * largest + 10 * tol.absolute +
                         8 * slack[size_t(i)];
    if (!close(x, y, bound) && wrong++ == 0)
      first = cat("at ", place(i, want.shape()), " is ", x, ", should be ", y, " (allowed ", bound,
                  ")");
  }
  return wrong ? cat(first, "; ", wrong, " of ", want.numel(), " differ") : "";
}

}  // namespace

std::string bit_difference(const Tensor& got, const Tensor& want, bool signs) {
  if (std::string s = spec_difference(got, want); !s.empty() || !got.defined()) return s;
  const Tensor a = detail::as_contiguous(got), b = detail::as_contiguous(want);
  const size_t item = size_t(itemsize(want.dtype()));
  const auto *x = static_cast<const char*>(a.raw_data()),
             *y = static_cast<const char*>(b.raw_data());
  if (a.numel() == 0 || std::memcmp(x, y, size_t(a.numel()) * item) == 0) return "";
  const Tensor p = plain_numbers(a), q = plain_numbers(b);
  int64_t wrong = 0;
  std::string first;
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (std::memcmp(x + size_t(i) * item, y + size_t(i) * item, item) == 0) continue;
    const double u = element(p, i), v = element(q, i);
    if ((std::isnan(u) && std::isnan(v)) || (!signs && u == v)) continue;
    if (wrong++ == 0)
      first =
          cat("at ", place(i, want.shape()), " is ", u, ", should be ", v, " (off by ", u - v, ")");
  }
  return wrong ? cat(first, "; ", wrong, " of ", want.numel(), " differ") : "";
}

void Slack::disturb() {
  while (disturbed_.size() < disturbances) {
    const Noise noise{disturbed_.size() + 1};
    const auto run = trains_ ? plain_training(program_, &noise) : plain_run(program_, &noise);
    Disturbed& all = disturbed_.emplace_back();
    for (size_t c = 0; c < program_.calls.size(); ++c) all.calls.push_back(run->call(int(c)));
    all.end = run->end();
  }
}

void Slack::widen(std::vector<double>& slack, const Tensor& got, const Tensor& want) {
  const bool comparable = spec_difference(got, want).empty();
  const Tensor a = comparable ? plain_numbers(got) : Tensor(), b = plain_numbers(want);
  for (int64_t i = 0; i < b.numel(); ++i) {
    double& s = slack[size_t(i)];
    if (!comparable) {
      s = infinity;
      continue;
    }
    const double x = element(a, i), y = element(b, i);
    if (!is_floating(want.dtype())) s = x == y ? s : infinity;
    else if (std::isfinite(x) && std::isfinite(y)) s = std::max(s, std::abs(x - y));
    else if (!close(x, y, 0)) s = infinity;
  }
}

const std::vector<double>& Slack::of(int call, bool gradient, size_t index,
                                     const std::vector<Result>& plain) {
  auto& slack = known_[{call, gradient, index}];
  if (!slack.empty()) return slack;
  disturb();
  auto outcome = [&](const std::vector<Result>& run) -> const Outcome& {
    const Result& r = run[size_t(call)];
    return gradient ? r.gradient : r.forward;
  };
  const Tensor want = outcome(plain).values[index].second;
  slack.assign(size_t(want.numel()) + 1, 0);
  for (const Disturbed& run : disturbed_) {
    const Outcome& o = outcome(run.calls);
    const bool has = o.error.empty() && index < o.values.size();
    widen(slack, has ? o.values[index].second : Tensor(), want);
  }
  return slack;
}

const std::vector<double>& Slack::of_state(size_t index, const NamedTensors& plain) {
  auto& slack = known_[{-1, false, index}];
  if (!slack.empty()) return slack;
  disturb();
  const Tensor want = plain[index].second;
  slack.assign(size_t(want.numel()) + 1, 0);
  for (const Disturbed& run : disturbed_)
    widen(slack, index < run.end.size() ? run.end[index].second : Tensor(), want);
  return slack;
}

Comparison Comparer::tensors(int call, bool gradient, const NamedTensors& got,
                             const NamedTensors& want, bool bits) {
  if (got.size() != want.size())
    return {"shape", cat(int64_t(got.size()), " results instead of ", int64_t(want.size()))};
  for (size_t i = 0; i < want.size(); ++i) {
    const auto& [name, y] = want[i];
    const Tensor& x = got[i].second;
    if (const std::string s = spec_difference(x, y); !s.empty())
      return {"shape", cat(name, " ", s)};
    if (!y.defined()) continue;
    if (bits) {
      // A gradient that plain code does not make is zero here; its sign says nothing.
      if (const std::string s = bit_difference(x, y, !gradient); !s.empty())
        return {"bits", cat(name, " ", s)};
      continue;
    }
    if (testing::difference(x, y, testing::tolerance_of(y.dtype()) * 4).empty()) continue;
    const DType roundings = gradient ? coarsest(program_, y.dtype()) : y.dtype();
    const std::string s = difference(x, y, slack_.of(call, gradient, i, plain_), roundings);
    if (!s.empty()) return {"value", cat(name, " ", s)};
  }
  return {};
}

Comparison Comparer::outcomes(int call, bool gradient, const Outcome& got, bool bits) {
  const Result& plain = plain_[size_t(call)];
  const Outcome& want = gradient ? plain.gradient : plain.forward;
  if (!want.ran || !got.ran) return {};
  if (got.error.empty() && want.error.empty())
    return tensors(call, gradient, got.values, want.values, bits);
  if (got.error == want.error) return {};
  if (!got.error.empty() && !want.error.empty()) {
    // A graph is recorded as a whole before it meets values: rules of shapes and of attributes
    // speak first.
    for (const char* rule : {"ShapeError", "DTypeError", "ValueError"})
      if (got.error == rule || want.error == rule) return {};
    // No program any more: shrinking took away what a step reads.
    if (got.text.ends_with(" is undefined")) return {};
  }
  // Where plain code has lost a value that its gradient needs, a graph may still have it.
  if (got.error.empty() && want.text.find("has overwritten") != want.text.npos) return {};
  // Gradients through the results of a compiled function say so in front.
  if (gradient && got.error == "GradientError" && !want.error.empty() &&
      got.text.find(want.text) != got.text.npos)
    return {};
  const std::string mine = got.error.empty() ? "a value" : cat(got.error, ": ", got.text);
  const std::string right = want.error.empty() ? "a value" : cat(want.error, ": ", want.text);
  return {"error", cat("gives ", mine, "; should give ", right)};
}

Comparison Comparer::states(const NamedTensors& got, const NamedTensors& want, bool bits) {
  for (size_t i = 0; i < want.size() && i < got.size(); ++i) {
    const auto& [name, y] = want[i];
    const Tensor& x = got[i].second;
    std::string s;
    if (bits) s = bit_difference(x, y, true);
    else if (!testing::difference(x, y, testing::tolerance_of(y.dtype()) * 64).empty())
      s = difference(x, y, slack_.of_state(i, want), coarsest(program_, y.dtype()));
    if (!s.empty()) return {bits ? "bits" : "value", cat("state ", name, " ", s)};
  }
  return {};
}

}  // namespace tandem::five_ways
