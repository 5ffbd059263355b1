#include "tandem/graph/fit_lengths.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tandem::graph {
namespace {

bool same_bits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

/// What a number becomes as an element.
double rounded(double x, DType d) {
  return is_floating(d) ? visit(d, [&]<class T>() { return double(T(x)); }) : x;
}

int64_t floored(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

}  // namespace

void LengthFit::add(Length expression, std::vector<int64_t> values) {
  for (const Base& b : bases_)
    if (b.expression.bits() == expression.bits() || b.values == values) return;
  bases_.push_back({expression, std::move(values)});
}

void LengthFit::keep(size_t n) { bases_.resize(std::min(n, bases_.size())); }

template <class F>
bool LengthFit::holds(const F& at) const {
  for (size_t s = 0; s < samples_; ++s)
    if (!at(s)) return false;
  return true;
}

/// b + c, a b + c, the smaller or larger of b and a number.
std::optional<Length> LengthFit::of_one(const Base& b, std::span<const int64_t> v) const {
  const int64_t ahead = v[0] - b.values[0];
  if (holds([&](size_t s) { return v[s] == b.values[s] + ahead; })) return b.expression + ahead;
  for (size_t s = 1; s < samples_; ++s) {
    const int64_t step = b.values[s] - b.values[0], rise = v[s] - v[0];
    if (step == 0) continue;
    if (rise % step != 0 || rise / step < 1) break;
    const int64_t slope = rise / step, start = v[0] - slope * b.values[0];
    if (holds([&](size_t k) { return v[k] == slope * b.values[k] + start; }))
      return slope * b.expression + start;
    break;
  }
  const int64_t low = *std::min_element(v.begin(), v.end());
  const int64_t high = *std::max_element(v.begin(), v.end());
  if (holds([&](size_t s) { return v[s] == std::min(b.values[s], high); }))
    return min(b.expression, high);
  if (holds([&](size_t s) { return v[s] == std::max(b.values[s], low); }))
    return max(b.expression, low);
  return {};
}

/// floor((b + c) / d)
std::optional<Length> LengthFit::quotient(const Base& b, std::span<const int64_t> v) const {
  for (int64_t d = 2; d <= 64; ++d) {
    // d v <= b + c < d v + d in every sample.
    int64_t least = INT64_MIN, most = INT64_MAX;
    for (size_t s = 0; s < samples_; ++s) {
      least = std::max(least, d * v[s] - b.values[s]);
      most = std::min(most, d * v[s] + d - 1 - b.values[s]);
    }
    if (least > most) continue;
    const int64_t c = least <= 0 && most >= 0 ? 0 : least > 0 ? least : most;
    // C++ rounds towards zero: the numerator must not be negative.
    if (holds(
            [&](size_t s) { return b.values[s] + c >= 0 && floored(b.values[s] + c, d) == v[s]; }))
      return (b.expression + c) / d;
  }
  return {};
}

/// Sums, differences, the smaller and the larger of two.
std::optional<Length> LengthFit::of_two(const Base& a, const Base& b,
                                        std::span<const int64_t> v) const {
  const int64_t above = v[0] - a.values[0] - b.values[0];
  if (holds([&](size_t s) { return v[s] == a.values[s] + b.values[s] + above; }))
    return a.expression + b.expression + above;
  const int64_t apart = v[0] - a.values[0] + b.values[0];
  if (holds([&](size_t s) { return v[s] == a.values[s] - b.values[s] + apart; }))
    return a.expression - b.expression + apart;
  if (holds([&](size_t s) { return v[s] == std::min(a.values[s], b.values[s]); }))
    return min(a.expression, b.expression);
  if (holds([&](size_t s) { return v[s] == std::max(a.values[s], b.values[s]); }))
    return max(a.expression, b.expression);
  return {};
}

/// The lengths, products of two and three of them, and n (n - 1) and n (n + 1).
std::vector<LengthFit::Base> LengthFit::with_products() const {
  std::vector<Base> all = bases_;
  constexpr size_t few = 8;  // lengths whose products are looked at
  const size_t n = std::min(bases_.size(), few);
  auto times = [&](const Base& a, const Base& b) {
    Base p{a.expression * b.expression, {}};
    for (size_t s = 0; s < samples_; ++s) {
      int64_t product = 0;
      if (__builtin_mul_overflow(a.values[s], b.values[s], &product)) return;
      p.values.push_back(product);
    }
    all.push_back(std::move(p));
  };
  for (size_t i = 0; i < n; ++i)
    for (size_t k = i; k < n; ++k) times(bases_[i], bases_[k]);
  const size_t pairs = all.size();
  for (size_t p = bases_.size(); p < pairs; ++p)
    for (size_t i = 0; i < n; ++i) {
      const Base pair = all[p];
      times(pair, bases_[i]);
    }
  for (size_t i = 0; i < n; ++i)
    for (const int64_t c : {-1, 1}) {
      Base near{bases_[i].expression + c, bases_[i].values};
      for (int64_t& x : near.values) x += c;
      times(bases_[i], near);
    }
  return all;
}

std::optional<Length> LengthFit::find(std::span<const int64_t> v) const {
  if (holds([&](size_t s) { return v[s] == v[0]; })) return Length(v[0]);
  for (const Base& b : bases_)
    if (const auto e = of_one(b, v)) return e;
  const std::vector<Base> all = with_products();
  for (size_t i = bases_.size(); i < all.size(); ++i)
    if (const auto e = of_one(all[i], v)) return e;
  for (const Base& a : bases_)
    for (const Base& b : bases_)
      if (const auto e = of_two(a, b, v)) return e;
  for (const Base& b : all)
    if (const auto e = quotient(b, v)) return e;
  return {};
}

/// k e, k / e, with the root or logarithm of e in its place, k + c / e, (e + p) / (e + q).
std::optional<Number> LengthFit::real_of(const Base& b, std::span<const double> v,
                                         DType dtype) const {
  auto gives = [&](double x, double seen) { return same_bits(rounded(x, dtype), seen); };
  const Number e = b.expression;
  auto at = [&](size_t s) { return double(b.values[s]); };
  struct Form {
    double (*of)(double);
    Number (*expression)(Number);
  };
  static constexpr Form forms[] = {
      {[](double x) { return x; }, [](Number x) { return x; }},
      {[](double x) { return std::sqrt(x); }, [](Number x) { return sqrt(x); }},
      {[](double x) { return std::log(x); }, [](Number x) { return log(x); }},
      {[](double x) { return std::log2(x); }, [](Number x) { return log2(x); }},
      {[](double x) { return std::log10(x); }, [](Number x) { return log10(x); }},
      {[](double x) { return std::exp(-x); }, [](Number x) { return exp(-x); }}};
  for (const Form& f : forms) {
    const double first = f.of(at(0)), ratio = v[0] / first, product = v[0] * first;
    for (const double k : {std::nearbyint(ratio), ratio}) {
      if (!std::isfinite(k) || k == 0) continue;
      if (holds([&](size_t s) { return gives(f.of(at(s)) * k, v[s]); }))
        return k == 1 ? f.expression(e) : f.expression(e) * k;
      // A quotient by a number rounds in another way than the product with its inverse.
      if (const double d = std::nearbyint(1 / k); std::isfinite(d) && d != 0)
        if (holds([&](size_t s) { return gives(f.of(at(s)) / d, v[s]); }))
          return f.expression(e) / d;
    }
    for (const double k : {std::nearbyint(product), product})
      if (std::isfinite(k) && k != 0 &&
          holds([&](size_t s) { return gives(k / f.of(at(s)), v[s]); }))
        return k / f.expression(e);
  }
  for (const double k : {1.0, 0.5, 2.0}) {
    const double c = std::nearbyint((v[0] - k) * at(0));
    if (c == 0 || !std::isfinite(c)) continue;
    if (holds([&](size_t s) { return gives(k + c / at(s), v[s]); })) return k + c / e;
    if (holds([&](size_t s) { return gives(k - -c / at(s), v[s]); })) return k - -c / e;
  }
  // e / (e + q) with q = 1 / m: e / v - e is q without cancellation.
  for (const double sign : {1.0, -1.0}) {
    const double m = std::nearbyint(sign / (at(0) / v[0] - at(0)));
    if (!(m > 1 && m < 1e9)) continue;
    if (!holds([&](size_t s) { return gives(m * at(s) / (m * at(s) + sign), v[s]); })) continue;
    const Length whole = int64_t(m) * b.expression;
    return Number(whole) / Number(whole + int64_t(sign));
  }
  // v (e + q) = e + p in two samples gives p and q, which are fractions of one denominator.
  for (size_t s = 1; s < samples_; ++s) {
    if (v[s] == v[0]) continue;
    const double q = (at(s) - at(0) - (v[s] * at(s) - v[0] * at(0))) / (v[s] - v[0]);
    const double p = v[0] * (at(0) + q) - at(0);
    if (!(std::abs(p) < 1e6 && std::abs(q) < 1e6)) break;
    for (const double k : {1.0, std::nearbyint(1 / q), std::nearbyint(1 / p)}) {
      if (!(std::abs(k) >= 1 && std::abs(k) < 1e9)) continue;
      const double m = std::abs(k), kp = std::nearbyint(m * p), kq = std::nearbyint(m * q);
      if (!holds([&](size_t i) { return gives((m * at(i) + kp) / (m * at(i) + kq), v[i]); }))
        continue;
      const Length whole = int64_t(m) * b.expression;
      return Number(whole + int64_t(kp)) / Number(whole + int64_t(kq));
    }
    break;
  }
  return {};
}

std::optional<Number> LengthFit::find(std::span<const double> v, DType dtype) const {
  if (holds([&](size_t s) { return same_bits(v[s], v[0]); })) return Number(v[0]);
  std::vector<int64_t> whole;
  for (const double x : v)
    if (x == std::nearbyint(x) && std::abs(x) < 9e15) whole.push_back(int64_t(x));
  if (whole.size() == samples_)
    if (const auto e = find(std::span<const int64_t>(whole))) return Number(*e);
  std::vector<Base> all = with_products();
  const size_t plain = bases_.size();
  for (size_t i = 0; i < plain; ++i)
    for (const int64_t c : {-1, 1, -2, 2}) {
      Base near{all[i].expression + c, all[i].values};
      for (int64_t& x : near.values) x += c;
      all.push_back(std::move(near));
    }
  for (const Base& b : all)
    if (const auto e = real_of(b, v, dtype)) return e;
  return {};
}

}  // namespace tandem::graph
