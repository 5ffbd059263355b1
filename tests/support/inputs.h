#pragma once
// Fills a sample's inputs. The values depend on the op's name, the sample's number and the input's
// number only, and use no elementary functions, so that every machine draws the same bits.
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "tandem/op/copy.h"
#include "tandem/op/samples.h"

namespace tandem::testing {

/// splitmix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /// In [0, 1), a multiple of 2^-32.
  double uniform() { return double(bits() >> 32) * 0x1p-32; }
  int64_t below(int64_t n) { return n > 0 ? int64_t(bits() % uint64_t(n)) : 0; }
  /// Nearly N(0, 1): the sum of twelve uniforms, less its mean.
  double normal() {
    double s = -6;
    for (int i = 0; i < 12; ++i) s += uniform();
    return s;
  }

 private:
  uint64_t state_;
};

inline uint64_t fnv(const void* data, size_t bytes, uint64_t h = 0xcbf29ce484222325ull) {
  const auto* p = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < bytes; ++i) h = (h ^ p[i]) * 0x100000001b3ull;
  return h;
}
inline uint64_t seed_of(std::string_view op, int sample, int input) {
  const int64_t numbers[] = {sample, input};
  return fnv(numbers, sizeof numbers, fnv(op.data(), op.size()));
}

/// f64 values in row-major order as a tensor of that dtype.
inline Tensor from_doubles(const std::vector<double>& values, const Shape& shape, DType dtype) {
  const Tensor flat = wrap(std::vector<double>(values), shape);
  return detail::as_contiguous(flat, dtype);
}

inline bool is_unsigned(DType d) { return d == u8 || d == u16 || d == u32 || d == u64; }

inline std::vector<double> draw(const InputSpec& s, uint64_t seed) {
  Random random(seed);
  std::vector<double> v(size_t(s.shape.numel()));
  const bool integer = !is_floating(s.dtype);
  if (s.fill == InputSpec::distinct) {
    const auto n = int64_t(v.size());
    for (int64_t i = 0; i < n; ++i) v[size_t(i)] = double(i - (is_unsigned(s.dtype) ? 0 : n / 2));
    for (int64_t i = n - 1; i > 0; --i) std::swap(v[size_t(i)], v[size_t(random.below(i + 1))]);
    if (!integer)
      for (double& x : v) x = (2 * x + 1) * 0.125;
    return v;
  }
  for (size_t i = 0; i < v.size(); ++i) switch (s.fill) {
      case InputSpec::normal:
        if (s.dtype == boolean) v[i] = double(random.below(2));
        else if (is_unsigned(s.dtype)) v[i] = double(random.below(10)) + s.shift;
        else if (integer) v[i] = double(random.below(19) - 9) + s.shift;
        else v[i] = s.scale * random.normal() + s.shift;
        break;
      case InputSpec::positive: {
        const double x = (0.1 + 1.9 * random.uniform()) * s.scale;
        v[i] = integer ? double(int64_t(x)) + 1 : x;
        break;
      }
      case InputSpec::unit:
        v[i] = integer ? double(random.below(2)) : -0.9 + 1.8 * random.uniform();
        break;
      case InputSpec::index: v[i] = double(random.below(int64_t(s.scale))); break;
      case InputSpec::mask: v[i] = double(random.below(2)); break;
      case InputSpec::listed: v[i] = s.values.empty() ? 0 : s.values[i % s.values.size()]; break;
      case InputSpec::distinct:
      case InputSpec::absent: break;
    }
  return v;
}

/// The same values lying in memory with the axes' order reversed.
inline Tensor lay_transposed(const Tensor& t) {
  const int n = t.dim();
  Shape reversed = t.shape();
  for (int i = 0; i < n; ++i) reversed[i] = t.shape()[n - 1 - i];
  const Tensor memory = empty(reversed, t.dtype());
  Strides strides = memory.strides();
  for (int i = 0; i < n; ++i) strides[i] = memory.strides()[n - 1 - i];
  const Tensor out = detail::alias(memory, t.shape(), strides, 0);
  detail::copy_data(out, t);
  return out;
}

/// `floating` stands in for the samples' f64; other dtypes are what the sample says.
inline Tensor make_input(const InputSpec& s, uint64_t seed, std::optional<DType> stand_in = {}) {
  if (s.fill == InputSpec::absent) return {};
  InputSpec spec = s;
  if (stand_in && spec.dtype == f64) spec.dtype = *stand_in;
  const Tensor t = from_doubles(draw(spec, seed), spec.shape, spec.dtype);
  return spec.transposed ? lay_transposed(t) : t;
}

inline Tensors make_inputs(std::string_view op, int sample, const InputSpecs& specs,
                           std::optional<DType> stand_in = {}) {
  Tensors in;
  for (size_t i = 0; i < specs.size(); ++i)
    in.push_back(make_input(specs[i], seed_of(op, sample, int(i)), stand_in));
  return in;
}

/// The fixed cotangent of output `k`.
inline Tensor make_cotangent(std::string_view op, int sample, int k, const Shape& shape,
                             DType dtype = f64) {
  return make_input(InputSpec(shape, dtype), seed_of(op, sample, 1000 + k));
}

/// How many outputs of an op are results. The others are what its own gradient needs of the forward
/// pass (the gates of recurrent layers); no gradient flows into them.
inline int results_of(const OpInfo& info) {
  constexpr std::pair<std::string_view, int> fewer[] = {{"rnn", 2}, {"lstm", 3}, {"gru", 2}};
  for (const auto& [op, n] : fewer)
    if (op == info.name) return n;
  return info.outputs;
}

/// Of attributes, shapes and values: says whether a golden still speaks of this sample.
inline uint64_t checksum(const OpInfo& info, const void* op, const Tensors& in) {
  const std::string text = info.print(op);
  uint64_t h = fnv(text.data(), text.size());
  for (const Tensor& t : in) {
    if (!t.defined()) {
      h = fnv("-", 1, h);
      continue;
    }
    const std::string spec = to_string(t.spec());
    h = fnv(spec.data(), spec.size(), h);
    const Tensor flat = detail::as_contiguous(t);
    h = fnv(flat.raw_data(), size_t(flat.numel() * itemsize(flat.dtype())), h);
  }
  return h;
}

}  // namespace tandem::testing
