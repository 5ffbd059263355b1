#include "tandem/ops/int8_product.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/int8_operand.h"

namespace tandem {

TANDEM_OP(Int8Matmul)
TANDEM_OP(Requantize)

Spec Int8Matmul::infer(Specs in) const {
  detail::check_int8_operands(*this, in);
  const Shape &x = in[0].shape, &y = in[1].shape;
  check<ShapeError>(x.size() >= 2 && y.size() >= 2 && detail::may_equal(x.back(), y[y.size() - 2]),
                    *this, "shapes ", x, " and ", y, " have no product");
  const Length m = x[x.size() - 2], n = y.back();
  if (in.has(2))
    check<ShapeError>(
        detail::may_equal(in[2].shape.numel(), 1) || detail::may_equal(in[2].shape, Shape{m}),
        *this, "x_zero of shape ", in[2].shape, " for ", m, " rows");
  if (in.has(3))
    check<ShapeError>(
        detail::may_equal(in[3].shape.numel(), 1) || detail::may_equal(in[3].shape, Shape{n}),
        *this, "y_zero of shape ", in[3].shape, " for ", n, " columns");
  Shape a = x, b = y, lead;
  a.resize(a.size() - 2);
  b.resize(b.size() - 2);
  check<ShapeError>(broadcast(a, b, lead), *this, "shapes ", x, " and ", y, " do not broadcast");
  lead.push_back(m);
  lead.push_back(n);
  return {lead, i32, in[0].device};
}

void Int8Matmul::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const auto given = [&](size_t i) { return i < in.size() ? in[i] : Tensor(); };
  const detail::Int8Operand x(in[0], given(2)), y(in[1], given(3));
  const Shape &xs = x.values.shape(), &ys = y.values.shape(), &os = out[0].shape();
  const int64_t m = os[os.size() - 2], n = os.back(), k = xs.back();
  Shape lead = os, a = xs, b = ys;
  for (Shape* s : {&lead, &a, &b}) s->resize(s->size() - 2);
  const Strides sa = broadcast_strides(a, contiguous_strides(a), lead);
  const Strides sb = broadcast_strides(b, contiguous_strides(b), lead);
  // Zero points that differ are taken off afterwards.
  const bool x_one = x.one(), y_one = y.one();
  for (int64_t i = 0; i < lead.numel(); ++i) {
    int64_t at = i, ia = 0, ib = 0;
    for (int d = lead.size() - 1; d >= 0; --d) {
      ia += at % lead[d] * sa[d];
      ib += at % lead[d] * sb[d];
      at /= lead[d];
    }
    const int8_t *p = x.data() + ia * m * k, *q = y.data() + ib * k * n;
    int32_t* c = out[0].data<int32_t>() + i * m * n;
    cpu::gemm_int8(m, n, k, p, k, x_one ? x.zeros[0] : 0, q, n, y_one ? y.zeros[0] : 0, c, n);
    if (x_one && y_one) continue;
    // Sums wrap around as the product's do.
    std::vector<uint32_t> rows(size_t(m), 0), columns(size_t(n), 0);
    for (int64_t r = 0; r < m; ++r)
      for (int64_t e = 0; e < k; ++e) rows[size_t(r)] += uint32_t(p[r * k + e]);
    for (int64_t e = 0; e < k; ++e)
      for (int64_t j = 0; j < n; ++j) columns[size_t(j)] += uint32_t(q[e * n + j]);
    auto zero = [](const detail::Int8Operand& o, int64_t j) {
      return uint32_t(o.zeros[o.zeros.size() == 1 ? 0 : size_t(j)]);
    };
    for (int64_t r = 0; r < m; ++r)
      for (int64_t j = 0; j < n; ++j) {
        const uint32_t zx = zero(x, r), zy = zero(y, j);
        uint32_t v = uint32_t(c[r * n + j]);
        // What the product has not yet taken off: of x by rows, of y by columns.
        if (!x_one) v -= zx * (columns[size_t(j)] - (y_one ? uint32_t(k) * zy : 0));
        if (!y_one) v -= zy * (rows[size_t(r)] - uint32_t(k) * zx);
        c[r * n + j] = int32_t(v);
      }
  }
}

Samples<Int8Matmul> Int8Matmul::samples() {
  using sample::listed;
  const auto bytes = [](Shape s, DType d) { return InputSpec(s, d); };
  return {.ok = {{{}, {bytes({3, 5}, i8), bytes({5, 4}, i8)}},
                 {{}, {bytes({3, 5}, u8), bytes({5, 4}, i8), listed({1}, {7}, u8)}},
                 {{},
                  {bytes({70, 33}, u8), bytes({33, 17}, u8), listed({}, {128}, u8),
                   listed({1}, {3}, u8)}},
                 {{},
                  {bytes({2, 3, 5}, i8), bytes({5, 4}, u8), listed({3}, {1, -2, 3}, i8),
                   listed({4}, {9, 0, 200, 7}, u8)}},
                 {{},
                  {bytes({2, 5}, i8), bytes({5, 4}, i8), sample::absent(),
                   listed({4}, {1, 2, 3, 4}, i8)}},
                 {{}, {bytes({1, 3, 5}, i8), bytes({2, 5, 4}, i8)}},
                 {{}, {listed({2, 300}, {127, -128}, i8), listed({300, 2}, {255, 0, 255}, u8)}},
                 {{}, {bytes({200, 300}, u8), bytes({300, 100}, i8), listed({}, {30}, u8)}},
                 {{}, {bytes({3, 0}, i8), bytes({0, 2}, i8)}},
                 {{}, {sample::strided({4, 3}, i8), sample::strided({3, 2}, u8)}}},
          .errors = {{{},
                      {bytes({3, 5}, i8), bytes({4, 5}, i8)},
                      "int8_matmul(): shapes [3, 5] and [4, 5] have no product"},
                     {{},
                      {bytes({3, 5}, i32), bytes({5, 5}, i8)},
                      "int8_matmul(): takes i8 and u8, got i32 and i8"},
                     {{},
                      {bytes({3, 5}, i8), bytes({5, 5}, i8), bytes({2}, i8)},
                      "int8_matmul(): x_zero of shape [2] for 3 rows"}}};
}

Spec Requantize::infer(Specs in) const {
  check<DTypeError>(detail::is_byte(dtype), *this, "dtype must be i8 or u8");
  check<DTypeError>(in[0].dtype == i32 && in[1].dtype == f32 && is_integral(in[2].dtype), *this,
                    "takes i32, f32 and integers, got ", in[0].dtype, ", ", in[1].dtype, " and ",
                    in[2].dtype);
  const Shape& x = in[0].shape;
  if (!detail::may_equal(in[1].shape.numel(), 1)) {
    const int a = check_axis(*this, axis, x);
    check<ShapeError>(detail::may_equal(in[1].shape, Shape{x.empty() ? Length(1) : x[a]}), *this,
                      "scale of shape ", in[1].shape, " for axis ", a, " of shape ", x);
  }
  check<ShapeError>(detail::may_equal(in[2].shape.numel(), 1), *this, "zero of shape ",
                    in[2].shape);
  if (in.has(3)) {
    check<DTypeError>(in[3].dtype == i32, *this, "bias is ", in[3].dtype, ", not i32");
    const int a = check_axis(*this, axis, x);
    check<ShapeError>(!x.empty() && detail::may_equal(in[3].shape, Shape{x[a]}), *this,
                      "bias of shape ", in[3].shape, " for axis ", a, " of shape ", x);
  }
  return {x, dtype, in[0].device};
}

namespace {

/// How sums become elements of T. What is rounded is first brought near to what T holds, so that
/// adding 1.5 * 2^23 rounds it; NaN becomes the least.
template <class T>
struct Storing {
  static constexpr float least = std::is_same_v<T, int8_t> ? -128.f : 0.f;
  static constexpr float most = std::is_same_v<T, int8_t> ? 127.f : 255.f;
  static constexpr float rounds = 12582912.f;

  float low, high;
  int32_t bits;  ///< of `rounds`, without the zero point

  explicit Storing(int32_t zero)
      : low(least - float(zero)),
        high(most - float(zero)),
        bits(std::bit_cast<int32_t>(rounds) - zero) {}

  TANDEM_FN T operator()(int32_t sum, uint32_t bias, float scale) const {
    float v = float(int32_t(uint32_t(sum) + bias)) * scale;
    v = v > low ? v : low;
    v = v < high ? v : high;
    return T(std::bit_cast<int32_t>(v + rounds) - bits);
  }
  void one_scale(const int32_t* from, T* to, int64_t n, uint32_t bias, float scale) const {
    simd([=, s = *this] {
      const Storing store = s;
      const int32_t* __restrict p = from;
      T* __restrict q = to;
      const int64_t count = n;
      const uint32_t b = bias;
      const float f = scale;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) q[i] = store(p[i], b, f);
    });
  }
  void scales(const int32_t* from, T* to, int64_t n, const int32_t* bias,
              const float* scale) const {
    simd([=, s = *this] {
      const Storing store = s;
      const int32_t* __restrict p = from, * __restrict b = bias;
      const float* __restrict f = scale;
      T* __restrict q = to;
      const int64_t count = n;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) q[i] = store(p[i], uint32_t(b[i]), f[i]);
    });
  }
};

/// `run` is what lies between two steps of the axis.
template <class T>
void store(const int32_t* x, T* y, int64_t n, int64_t run, const std::vector<float>& scale,
           const std::vector<int32_t>& bias, int32_t zero) {
  const Storing<T> storing(zero);
  const auto channels = static_cast<int64_t>(scale.size());
  if (run >= 16 || channels == 1)
    return cpu::parallel_for(
        n / run, std::max<int64_t>(1, 32768 / run), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r)
            storing.one_scale(x + r * run, y + r * run, run, uint32_t(bias[size_t(r % channels)]),
                              scale[size_t(r % channels)]);
        });
  const int64_t row = run * channels;
  std::vector<float> scales(static_cast<size_t>(row));
  std::vector<int32_t> biases(static_cast<size_t>(row));
  for (int64_t i = 0; i < row; ++i) {
    scales[size_t(i)] = scale[size_t(i / run)];
    biases[size_t(i)] = bias[size_t(i / run)];
  }
  cpu::parallel_for(n / row, std::max<int64_t>(1, 32768 / row), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      storing.scales(x + r * row, y + r * row, row, biases.data(), scales.data());
  });
}

}  // namespace

void Requantize::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const Tensor x = detail::as_contiguous(in[0]);
  auto scale = in[1].to_vector<float>();
  std::vector<int32_t> bias;
  if (in.size() > 3 && in[3].defined()) bias = in[3].to_vector<int32_t>();
  const auto zero = static_cast<int32_t>(in[2].item<int64_t>());
  const Shape& s = x.shape();
  int64_t run = x.numel();
  if (scale.size() != 1 || !bias.empty()) {
    const int a = check_axis(*this, axis, s);
    scale.resize(size_t(s[a]), scale[0]);
    run = 1;
    for (int i = a + 1; i < s.size(); ++i) run *= s[i];
  }
  bias.resize(scale.size(), 0);
  const int32_t* p = x.data<int32_t>();
  if (dtype == i8) store(p, out[0].data<int8_t>(), x.numel(), run, scale, bias, zero);
  else store(p, out[0].data<uint8_t>(), x.numel(), run, scale, bias, zero);
}

Samples<Requantize> Requantize::samples() {
  using sample::listed;
  const InputSpec x = listed({2, 3, 4}, {0, 5, -7, 300, -1000, 99999, 2, 3, -3, 25, -25}, i32);
  return {
      .ok = {{{}, {x, listed({}, {0.5}, f32), listed({}, {3}, u8)}},
             {{.dtype = i8}, {x, listed({1}, {0.25}, f32), listed({1}, {-2}, i8)}},
             {{},
              {x, listed({3}, {0.5, 0.1, 2}, f32), listed({}, {128}, u8),
               listed({3}, {1, -2, 1000}, i32)}},
             {{.dtype = i8, .axis = 0},
              {listed({2, 5, 4}, {0, 5, -7, 300, -1000, 99999, 2, 3, -3, 25, -25}, i32),
               listed({2}, {0.5, 0.3}, f32), listed({}, {-100}, i8), listed({2}, {7, -9}, i32)}},
             {{.axis = -1}, {x, listed({4}, {1, 0.5, 0.1, 2}, f32), listed({}, {0}, u8)}},
             {{}, {{{0, 3}, i32}, listed({}, {1}, f32), listed({}, {0}, u8)}}},
      .errors = {{{.dtype = i16},
                  {x, listed({}, {0.5}, f32), listed({}, {3}, u8)},
                  "requantize(dtype=i16, axis=1): dtype must be i8 or u8"},
                 {{},
                  {x, listed({2}, {0.5}, f32), listed({}, {3}, u8)},
                  "requantize(dtype=u8, axis=1): scale of shape [2] for axis 1 of shape "
                  "[2, 3, 4]"}}};
}

}  // namespace tandem
