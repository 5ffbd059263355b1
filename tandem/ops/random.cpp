#include "tandem/ops/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/random_key.h"

namespace tandem {

TANDEM_OP(RandomUniform)
TANDEM_OP(RandomNormal)
TANDEM_OP(RandomInt)
TANDEM_OP(Bernoulli)
TANDEM_OP(Randperm)
TANDEM_OP(Multinomial)
namespace {

InputSpec key_sample(double seed = 42, double offset = 3) {
  return sample::listed({2}, {seed, offset}, i64);
}

/// Random bits that a number below one of this dtype can hold.
int mantissa_bits(DType d) { return d == f16 ? 11 : d == bf16 ? 8 : 24; }

/// The next smaller T.
template <class T>
T below(T x) {
  if constexpr (std::is_class_v<T>) {
    if ((x.bits & 0x7fffu) == 0) x.bits = 0x8001;
    else x.bits = uint16_t(x.bits & 0x8000u ? x.bits + 1 : x.bits - 1);
    return x;
  } else {
    return std::nextafter(x, -std::numeric_limits<T>::infinity());
  }
}

/// The largest number of the dtype that lies in [low, high), as numbers of that dtype; low where
/// there is none.
double last_below(DType dtype, double low, double high) {
  return visit(dtype, [&]<class T>() {
    if constexpr (std::is_integral_v<T>) return high;
    else return std::max(double(T(low)), double(below(T(high))));
  });
}

/// The integer of at most `digits` binary digits next to n: towards zero, or away from it.
int64_t held(int64_t n, int digits, bool away) {
  const uint64_t size = n < 0 ? 0 - uint64_t(n) : uint64_t(n);
  const int extra = std::max(0, int(std::bit_width(size)) - digits);
  const uint64_t step = uint64_t(1) << extra, cut = (size + (away ? step - 1 : 0)) / step * step;
  return int64_t(n < 0 ? 0 - cut : cut);
}

/// The first and the last integer of [low, high) that the dtype holds.
template <class O>
std::pair<int64_t, int64_t> range_of(const O& op, DType dtype, int64_t low, int64_t high) {
  int64_t first = low, last = high - 1;
  for (int64_t end : {first, last})
    check(
        visit(dtype, [&]<class T>() { return detail::fits<T>(end); }) && (dtype != u8 || end >= 0),
        op, end, " is out of the range of ", dtype);
  if (is_floating(dtype)) {
    const int digits = dtype == f64 ? 53 : mantissa_bits(dtype);
    first = held(first, digits, first > 0);
    last = held(last, digits, last < 0);
    check(first <= last, op, "no number of ", dtype, " lies in the range");
  }
  return {first, last};
}

template <class O>
void check_shape(const O& op) {
  for (const Length n : op.shape)
    check<ShapeError>(detail::may_fit(0, n), op, "a length must not be negative");
}

/// word * n / 2^64: uniform below n (Lemire 2019, without the rejection of a 2^-64 n share).
uint64_t below(uint64_t word, uint64_t n) {
  return uint64_t((static_cast<unsigned __int128>(word) * n) >> 64);
}

}  // namespace

Spec RandomUniform::infer(Specs in) const {
  detail::check_key(*this, in[0]);
  check_shape(*this);
  check<DTypeError>(is_floating(dtype), *this, "dtype must be floating");
  check(low <= high, *this, "low must not be above high");
  for (double end : {low, high, high - low})
    check(visit(dtype, [&]<class T>() { return detail::fits<T>(end); }) && std::isfinite(end),
          *this, "the ends and their distance must be finite numbers of ", dtype);
  return {shape, dtype, in[0].device};
}

void RandomUniform::cpu(Inputs in, Outputs out) const {
  const cpu::RandomKey key = detail::read_key(in[0]);
  const double top = last_below(dtype, low, high);
  if (dtype == f64) {
    detail::fill_random<double>(out[0], [&](int64_t i, int64_t n, double* y) {
      cpu::random_uniform(key, i, n, low, high, top, y);
    });
  } else {
    const int bits = mantissa_bits(dtype);
    detail::fill_random<float>(out[0], [&](int64_t i, int64_t n, float* y) {
      cpu::random_uniform(key, i, n, float(low), float(high), float(top), bits, y);
    });
  }
}

Samples<RandomUniform> RandomUniform::samples() {
  return {.ok = {{{.shape = {3, 5}}, {key_sample()}},
                 {{.shape = {1030}, .dtype = f64, .low = -2, .high = 3}, {key_sample(7, 0)}},
                 {{.shape = {70}, .dtype = f16}, {key_sample()}},
                 {{.shape = {70}, .dtype = bf16}, {key_sample()}},
                 {{.shape = {}}, {key_sample(-1, -1)}},
                 {{.shape = {0, 3}}, {key_sample()}}},
          .errors = {{{.shape = {2}},
                      {{{3}, i64}},
                      "random_uniform(shape=[2], dtype=f32, low=0, high=1): a random key is "
                      "i64[2], got i64[3]"},
                     {{.shape = {2}, .dtype = i32},
                      {{{2}, i64}},
                      "random_uniform(shape=[2], dtype=i32, low=0, high=1): dtype must be "
                      "floating"},
                     {{.shape = {-1, 0}},
                      {{{2}, i64}},
                      "random_uniform(shape=[-1, 0], dtype=f32, low=0, high=1): a length must not "
                      "be negative"},
                     {{.shape = {2}, .low = 2},
                      {{{2}, i64}},
                      "random_uniform(shape=[2], dtype=f32, low=2, high=1): low must not be above "
                      "high"}}};
}

Spec RandomNormal::infer(Specs in) const {
  detail::check_key(*this, in[0]);
  check_shape(*this);
  check<DTypeError>(is_floating(dtype), *this, "dtype must be floating");
  check(std >= 0, *this, "std must not be negative");
  return {shape, dtype, in[0].device};
}

void RandomNormal::cpu(Inputs in, Outputs out) const {
  const cpu::RandomKey key = detail::read_key(in[0]);
  if (dtype == f64) {
    detail::fill_random<double>(out[0], [&](int64_t i, int64_t n, double* y) {
      cpu::random_normal(key, i, n, mean, std, y);
    });
  } else {
    detail::fill_random<float>(out[0], [&](int64_t i, int64_t n, float* y) {
      cpu::random_normal(key, i, n, float(mean), float(std), y);
    });
  }
}

Samples<RandomNormal> RandomNormal::samples() {
  return {.ok = {{{.shape = {3, 5}}, {key_sample()}},
                 {{.shape = {1030}, .dtype = f64, .mean = -2, .std = 3}, {key_sample(7, 0)}},
                 {{.shape = {70}, .dtype = f16}, {key_sample()}},
                 {{.shape = {}}, {key_sample(-1, -1)}},
                 {{.shape = {0, 3}}, {key_sample()}}},
          .errors = {{{.shape = {-1, 0}},
                      {{{2}, i64}},
                      "random_normal(shape=[-1, 0], dtype=f32, mean=0, std=1): a length must not "
                      "be negative"},
                     {{.shape = {2}, .std = -1},
                      {{{2}, i64}},
                      "random_normal(shape=[2], dtype=f32, mean=0, std=-1): std must not be "
                      "negative"}}};
}

Spec RandomInt::infer(Specs in) const {
  detail::check_key(*this, in[0]);
  check_shape(*this);
  check<DTypeError>(dtype != boolean, *this, "dtype must not be bool");
  check(detail::may_be_less(low, high), *this, "low must be below high");
  if (low.is_known() && high.is_known()) range_of(*this, dtype, low, high);
  return {shape, dtype, in[0].device};
}

void RandomInt::cpu(Inputs in, Outputs out) const {
  const cpu::RandomKey key = detail::read_key(in[0]);
  const uint64_t n = uint64_t(high) - uint64_t(low);
  const auto [first, last] = range_of(*this, dtype, low, high);
  detail::fill_random<int64_t>(
      out[0], [&, first = first, last = last](int64_t i, int64_t m, int64_t* y) {
        uint64_t* words = reinterpret_cast<uint64_t*>(y);
        cpu::random_words64(key, i, m, words);
        for (int64_t k = 0; k < m; ++k)
          y[k] = std::clamp(int64_t(uint64_t(low) + below(words[k], n)), first, last);
      });
}

Samples<RandomInt> RandomInt::samples() {
  return {.ok = {{{.shape = {3, 5}, .low = -3, .high = 9}, {key_sample()}},
                 {{.shape = {70}, .dtype = u8, .high = 256}, {key_sample()}},
                 {{.shape = {2}, .dtype = f32, .high = 10}, {key_sample()}},
                 {{.shape = {0}}, {key_sample()}}},
          .errors = {{{.shape = {0, -1}, .high = 3},
                      {{{2}, i64}},
                      "random_int(shape=[0, -1], dtype=i64, low=0, high=3): a length must not be "
                      "negative"},
                     {{.shape = {2}, .low = 3, .high = 3},
                      {{{2}, i64}},
                      "random_int(shape=[2], dtype=i64, low=3, high=3): low must be below high"}}};
}

Spec Bernoulli::infer(Specs in) const {
  detail::check_key(*this, in[1]);
  check<DTypeError>(is_floating(in[0].dtype), *this, "probabilities must be floating, got ",
                    in[0].dtype);
  return in[0];
}

void Bernoulli::cpu(Inputs in, Outputs out) const {
  const cpu::RandomKey key = detail::read_key(in[1]);
  const Tensor p = detail::as_contiguous(in[0], f64);
  const double* probability = p.data<double>();
  for (int64_t i = 0; i < p.numel(); ++i)
    check(probability[i] >= 0 && probability[i] <= 1, *this, "probability ", probability[i],
          " at element ", i, " is not between 0 and 1");
  detail::fill_random<float>(out[0], [&](int64_t i, int64_t n, float* y) {
    uint32_t words[1024];
    cpu::random_words(key, i, n, words);
    for (int64_t k = 0; k < n; ++k)
      y[k] = double(words[k]) * 0x1p-32 < probability[i + k] ? 1.f : 0.f;
  });
}

Samples<Bernoulli> Bernoulli::samples() {
  auto p = sample::listed({3, 4}, {0, 0.25, 0.5, 1});
  return {
      .ok = {{{}, {p, key_sample()}},
             {{}, {sample::listed({}, {0.5}), key_sample()}},
             {{}, {sample::listed({0}, {0.5}), key_sample()}}},
      .errors = {
          {{}, {{{3}, i64}, key_sample()}, "bernoulli(): probabilities must be floating, got i64"},
          {{},
           {sample::listed({2}, {0.5, 2}), key_sample()},
           "bernoulli(): probability 2 at element 1 is not between 0 and 1"}}};
}

Spec Randperm::infer(Specs in) const {
  detail::check_key(*this, in[0]);
  check(detail::may_fit(0, n), *this, "n must not be negative");
  return {{n}, i64, in[0].device};
}

void Randperm::cpu(Inputs in, Outputs out) const {
  const cpu::RandomKey key = detail::read_key(in[0]);
  int64_t* y = out[0].data<int64_t>();
  uint64_t words[64];
  for (int64_t i = 0; i < n; ++i) {
    if (i % 64 == 0) cpu::random_words64(key, i, 64, words);
    // The place of i among the first i + 1: what stood there moves to the end.
    const int64_t j = int64_t(below(words[i % 64], uint64_t(i) + 1));
    y[i] = i;
    std::swap(y[i], y[j]);
  }
}

Samples<Randperm> Randperm::samples() {
  return {.ok = {{{.n = 10}, {key_sample()}}, {{.n = 0}, {key_sample()}}},
          .errors = {{{.n = -1}, {{{2}, i64}}, "randperm(n=-1): n must not be negative"}}};
}

Spec Multinomial::infer(Specs in) const {
  detail::check_key(*this, in[1]);
  const Spec& p = in[0];
  check<ShapeError>(p.shape.size() == 1 || p.shape.size() == 2, *this,
                    "the weights must have shape [n] or [rows, n], got ", p.shape);
  check<DTypeError>(is_floating(p.dtype), *this, "the weights must be floating, got ", p.dtype);
  check(num_samples > 0, *this, "num_samples must be positive");
  check(replacement || detail::may_fit(num_samples, p.shape.back()), *this, "cannot draw ",
        num_samples, " of ", p.shape.back(), " without replacement");
  Shape shape = p.shape;
  shape[shape.size() - 1] = num_samples;
  return {shape, i64, p.device};
}

void Multinomial::cpu(Inputs in, Outputs out) const {
  const cpu::RandomKey key = detail::read_key(in[1]);
  const Tensor p = detail::as_contiguous(in[0], f64);
  const int64_t n = p.shape().back(), rows = n ? int64_t(p.numel()) / n : 0;
  check(n > 0 || out[0].numel() == 0, *this, "there are no weights to draw from");
  // A row takes a whole number of groups of words.
  const int64_t used = ((replacement ? num_samples : n) + 63) / 64 * 64;
  cpu::parallel_for(rows, std::max<int64_t>(1, 4096 / (n + used)), [&](int64_t begin, int64_t end) {
    std::vector<double> u(static_cast<size_t>(used)), work(static_cast<size_t>(n));
    std::vector<int64_t> order(static_cast<size_t>(n));
    for (int64_t r = begin; r < end; ++r) {
      const double* w = p.data<double>() + r * n;
      int64_t* y = out[0].data<int64_t>() + r * num_samples;
      cpu::random_uniform(key, r * used, used, 0., 1., 1., u.data());
      // No sum of finite weights is to be infinite.
      const double unit = n && *std::max_element(w, w + n) > 1e200 ? 0x1p-64 : 1;
      double total = 0;
      int64_t positive = 0, last = 0;
      for (int64_t i = 0; i < n; ++i) {
        check(w[i] >= 0 && std::isfinite(w[i]), *this, "weight ", w[i], " at row ", r, ", column ",
              i, " is not a number of zero or more");
        total += w[i] * unit;
        positive += w[i] > 0;
        if (w[i] > 0) last = i;
        work[size_t(i)] = replacement ? total : -std::log1p(-u[size_t(i)]) / w[i];
        order[size_t(i)] = i;
      }
      check(positive >= (replacement ? 1 : num_samples), *this, "row ", r, " has only ", positive,
            " weights above zero");
      if (replacement) {
        for (int64_t k = 0; k < num_samples; ++k) {
          const auto at = std::upper_bound(work.begin(), work.end(), u[size_t(k)] * total);
          y[k] = std::min(int64_t(at - work.begin()), last);
        }
      } else {
        auto sooner = [&](int64_t a, int64_t b) {
          return w[a] > 0 && (!(w[b] > 0) || work[size_t(a)] < work[size_t(b)]);
        };
        std::partial_sort(order.begin(), order.begin() + num_samples, order.end(), sooner);
        std::copy_n(order.begin(), num_samples, y);
      }
    }
  });
}

Samples<Multinomial> Multinomial::samples() {
  auto p = sample::listed({2, 4}, {0.1, 0, 3, 2});
  return {.ok = {{{.num_samples = 2}, {p, key_sample()}},
                 {{.num_samples = 70, .replacement = true}, {p, key_sample()}},
                 {{.num_samples = 1}, {sample::listed({3}, {0, 1, 0}), key_sample()}}},
          .errors = {{{.num_samples = 5},
                      {p, key_sample()},
                      "multinomial(num_samples=5, replacement=false): cannot draw 5 of 4 without "
                      "replacement"}}};
}

namespace {

/// The op on the next key of the generator, which is taken back when the op throws.
template <class O>
Tensor draw(const O& op, Generator& generator) {
  const detail::Draw next(generator);
  return apply(op, {next.key()});
}
template <class O>
Tensor draw(const O& op, const Tensor& p, Generator& generator) {
  const detail::Draw next(generator);
  return apply(op, {p, next.key()});
}

/// The null device has no numbers to draw.
bool is_null(const Tensor& t) { return t.device().type == DeviceType::null; }

}  // namespace

Tensor rand(const Shape& shape, DType dtype, Generator& generator) {
  return draw(RandomUniform{.shape = shape, .dtype = dtype}, generator);
}
Tensor randn(const Shape& shape, DType dtype, Generator& generator) {
  return draw(RandomNormal{.shape = shape, .dtype = dtype}, generator);
}
Tensor randint(Length low, Length high, const Shape& shape, DType dtype, Generator& generator) {
  return draw(RandomInt{.shape = shape, .dtype = dtype, .low = low, .high = high}, generator);
}
Tensor rand_like(const Tensor& t, Generator& generator) {
  return is_null(t) ? empty_like(t) : rand(t.shape(), t.dtype(), generator);
}
Tensor randn_like(const Tensor& t, Generator& generator) {
  return is_null(t) ? empty_like(t) : randn(t.shape(), t.dtype(), generator);
}
Tensor randint_like(const Tensor& t, Length low, Length high, Generator& generator) {
  return is_null(t) ? empty_like(t) : randint(low, high, t.shape(), t.dtype(), generator);
}
Tensor randperm(Length n, Generator& generator) { return draw(Randperm{.n = n}, generator); }
Tensor bernoulli(const Tensor& p, Generator& generator) { return draw(Bernoulli{}, p, generator); }
Tensor multinomial(const Tensor& p, int64_t num_samples, bool replacement, Generator& generator) {
  return draw(Multinomial{.num_samples = num_samples, .replacement = replacement}, p, generator);
}

Tensor uniform_(const Tensor& t, double low, double high, Generator& generator) {
  if (is_null(t)) return t;
  return Tensor(t).copy_(draw(
      RandomUniform{.shape = t.shape(), .dtype = t.dtype(), .low = low, .high = high}, generator));
}
Tensor normal_(const Tensor& t, double mean, double std, Generator& generator) {
  if (is_null(t)) return t;
  return Tensor(t).copy_(draw(
      RandomNormal{.shape = t.shape(), .dtype = t.dtype(), .mean = mean, .std = std}, generator));
}
Tensor bernoulli_(const Tensor& t, double p, Generator& generator) {
  if (is_null(t)) return t;
  return Tensor(t).copy_(bernoulli(full(t.shape(), p, f32), generator));
}

}  // namespace tandem
