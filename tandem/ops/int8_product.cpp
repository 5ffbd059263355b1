#include "tandem/ops/int8_product.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tandem/backend/cpu/gemm_int8.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Int8Matmul)
TANDEM_OP(Int8Conv2d)
TANDEM_OP(Requantize)

namespace {

bool is_byte(DType d) { return d == i8 || d == u8; }

template <class O>
void check_operands(const O& op, Specs in) {
  check<DTypeError>(is_byte(in[0].dtype) && is_byte(in[1].dtype), op, "takes i8 and u8, got ",
                    in[0].dtype, " and ", in[1].dtype);
  for (int i = 0; i < 2; ++i)
    if (in.has(2 + i))
      check<DTypeError>(in[2 + i].dtype == in[i].dtype, op, "a zero point of ", in[2 + i].dtype,
                        " for ", in[i].dtype);
}

/// An operand as signed bytes, with its zero points moved alike.
struct Operand {
  Tensor values;  ///< i8, row-major
  std::vector<int32_t> zeros;

  Operand(const Tensor& t, const Tensor& zero) : values(detail::as_contiguous(t)) {
    const bool moves = t.dtype() == u8;
    if (moves) {
      const Tensor to = empty(t.shape(), i8);
      cpu::shift(values.data<uint8_t>(), to.data<int8_t>(), t.numel());
      values = to;
    }
    if (zero.defined())
      for (int64_t v : zero.to_vector<int64_t>()) zeros.push_back(int32_t(v) - (moves ? 128 : 0));
    else zeros.push_back(moves ? -128 : 0);
  }
  bool one() const {
    return std::all_of(zeros.begin(), zeros.end(), [&](int32_t z) { return z == zeros[0]; });
  }
  const int8_t* data() const { return static_cast<const int8_t*>(values.raw_data()); }
};

}  // namespace

Spec Int8Matmul::infer(Specs in) const {
  check_operands(*this, in);
  const Shape &x = in[0].shape, &y = in[1].shape;
  check<ShapeError>(x.size() >= 2 && y.size() >= 2 && x.back() == y[y.size() - 2], *this, "shapes ",
                    x, " and ", y, " have no product");
  const int64_t m = x[x.size() - 2], n = y.back();
  if (in.has(2))
    check<ShapeError>(in[2].shape.numel() == 1 || in[2].shape == Shape{m}, *this,
                      "x_zero of shape ", in[2].shape, " for ", m, " rows");
  if (in.has(3))
    check<ShapeError>(in[3].shape.numel() == 1 || in[3].shape == Shape{n}, *this,
                      "y_zero of shape ", in[3].shape, " for ", n, " columns");
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
  const Operand x(in[0], given(2)), y(in[1], given(3));
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
    auto zero = [](const Operand& o, int64_t j) {
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

// --- Convolutions
// ---------------------------------------------------------------------------------

namespace {

struct Sides {
  int64_t top, left, bottom, right;
};
Sides sides(const Shape& p) {
  return {p[0], p[p.size() > 1 ? 1 : 0], p[p.size() > 2 ? 2 : 0],
          p[p.size() > 3   ? 3
            : p.size() > 1 ? 1
                           : 0]};
}

cpu::Int8Conv conv_shape(const Int8Conv2d& op, const Shape& x, const Shape& w) {
  const Sides p = sides(op.padding);
  auto both = [](const Shape& s, int i) { return int64_t(s[s.size() > 1 ? i : 0]); };
  cpu::Int8Conv c{x[0],
                  x[1],
                  x[2],
                  x[3],
                  w[0],
                  w[2],
                  w[3],
                  both(op.stride, 0),
                  both(op.stride, 1),
                  p.top,
                  p.left,
                  both(op.dilation, 0),
                  both(op.dilation, 1),
                  op.groups,
                  0,
                  0};
  c.oh = (c.h + p.top + p.bottom - c.dh * (c.kh - 1) - 1) / c.sh + 1;
  c.ow = (c.w + p.left + p.right - c.dw * (c.kw - 1) - 1) / c.sw + 1;
  return c;
}

}  // namespace

Spec Int8Conv2d::infer(Specs in) const {
  check_operands(*this, in);
  const Shape &x = in[0].shape, &w = in[1].shape;
  check<ShapeError>(x.size() == 4 && w.size() == 4, *this, "x has shape ", x, " and weight ", w,
                    "; they need 4 axes");
  const auto numbers = [&](const Shape& s, int64_t least, bool four) {
    bool good = s.size() == 1 || s.size() == 2 || (four && s.size() == 4);
    for (int64_t v : s) good = good && v >= least && v < (int64_t(1) << 31);
    return good;
  };
  check(numbers(stride, 1, false) && numbers(dilation, 1, false) && numbers(padding, 0, true) &&
            groups >= 1,
        *this, "strides, dilations and groups must be positive, padding not negative");
  check<ShapeError>(w[2] > 0 && w[3] > 0 && x[1] == w[1] * groups && w[0] % groups == 0, *this,
                    "x of shape ", x, " and weight of shape ", w, " do not fit");
  const Sides p = sides(padding);
  const cpu::Int8Conv c = conv_shape(*this, x, w);
  check<ShapeError>(
      c.h + p.top + p.bottom > c.dh * (c.kh - 1) && c.w + p.left + p.right > c.dw * (c.kw - 1),
      *this, "weight of shape ", w, " reaches beyond the padded x of shape ", x);
  if (in.has(2))
    check<ShapeError>(in[2].shape.numel() == 1, *this, "x_zero of shape ", in[2].shape);
  if (in.has(3))
    check<ShapeError>(in[3].shape.numel() == 1 || in[3].shape == Shape{w[0]}, *this,
                      "w_zero of shape ", in[3].shape, " for ", w[0], " channels");
  return {Shape{x[0], w[0], c.oh, c.ow}, i32, in[0].device};
}

void Int8Conv2d::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const auto given = [&](size_t i) { return i < in.size() ? in[i] : Tensor(); };
  const Operand x(in[0], given(2)), w(in[1], given(3));
  cpu::Int8Conv s = conv_shape(*this, x.values.shape(), w.values.shape());
  int32_t* y = out[0].data<int32_t>();
  if (w.one()) return cpu::conv_int8(s, x.data(), x.zeros[0], w.data(), w.zeros[0], y);
  // A zero point for each channel: one convolution after another.
  const int64_t each = s.c / s.groups * s.kh * s.kw, places = s.oh * s.ow, all = s.out;
  const int64_t in_group = s.c / s.groups, out_group = s.out / s.groups;
  cpu::Int8Conv one = s;
  one.n = 1, one.groups = 1, one.c = in_group, one.out = 1;
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t o = 0; o < all; ++o)
      cpu::conv_int8(one, x.data() + (n * s.c + o / out_group * in_group) * s.h * s.w, x.zeros[0],
                     w.data() + o * each, w.zeros[size_t(o)], y + (n * all + o) * places);
}

Samples<Int8Conv2d> Int8Conv2d::samples() {
  using sample::listed;
  const auto bytes = [](Shape s, DType d) { return InputSpec(s, d); };
  return {.ok = {{{}, {bytes({1, 2, 5, 6}, i8), bytes({3, 2, 3, 3}, i8)}},
                 {{.padding = {1}},
                  {bytes({2, 3, 6, 5}, u8), bytes({4, 3, 3, 3}, i8), listed({}, {9}, u8)}},
                 {{.stride = {2}, .padding = {0, 1, 2, 1}},
                  {bytes({1, 3, 7, 8}, u8), bytes({2, 3, 2, 3}, u8), listed({1}, {5}, u8),
                   listed({1}, {131}, u8)}},
                 {{.padding = {1, 2}, .dilation = {2, 1}, .groups = 2},
                  {bytes({2, 4, 6, 6}, i8), bytes({6, 2, 3, 3}, i8)}},
                 {{.stride = {1, 2}, .padding = {1}, .groups = 3},
                  {bytes({1, 3, 6, 7}, u8), bytes({6, 1, 3, 3}, i8), listed({1}, {128}, u8)}},
                 {{},
                  {bytes({1, 5, 4, 4}, u8), bytes({3, 5, 1, 1}, i8), sample::absent(),
                   listed({3}, {1, -3, 5}, i8)}},
                 {{}, {bytes({0, 2, 5, 6}, i8), bytes({3, 2, 3, 3}, i8)}}},
          .errors = {{{},
                      {bytes({1, 2, 2, 6}, i8), bytes({3, 2, 3, 3}, i8)},
                      "int8_conv2d(stride=[1], padding=[0], dilation=[1], groups=1): weight of "
                      "shape [3, 2, 3, 3] reaches beyond the padded x of shape [1, 2, 2, 6]"},
                     {{.stride = {0}},
                      {bytes({1, 2, 5, 6}, i8), bytes({3, 2, 3, 3}, i8)},
                      "int8_conv2d(stride=[0], padding=[0], dilation=[1], groups=1): strides, "
                      "dilations and groups must be positive, padding not negative"}}};
}

// --- Storing
// --------------------------------------------------------------------------------------

Spec Requantize::infer(Specs in) const {
  check<DTypeError>(is_byte(dtype), *this, "dtype must be i8 or u8");
  check<DTypeError>(in[0].dtype == i32 && in[1].dtype == f32 && is_integral(in[2].dtype), *this,
                    "takes i32, f32 and integers, got ", in[0].dtype, ", ", in[1].dtype, " and ",
                    in[2].dtype);
  const Shape& x = in[0].shape;
  const int64_t count = in[1].shape.numel();
  if (count != 1) {
    const int a = check_axis(*this, axis, x);
    check<ShapeError>(in[1].shape == Shape{x.empty() ? 1 : int64_t(x[a])}, *this, "scale of shape ",
                      in[1].shape, " for axis ", a, " of shape ", x);
  }
  check<ShapeError>(in[2].shape.numel() == 1, *this, "zero of shape ", in[2].shape);
  if (in.has(3)) {
    check<DTypeError>(in[3].dtype == i32, *this, "bias is ", in[3].dtype, ", not i32");
    const int a = check_axis(*this, axis, x);
    check<ShapeError>(!x.empty() && in[3].shape == Shape{x[a]}, *this, "bias of shape ",
                      in[3].shape, " for axis ", a, " of shape ", x);
  }
  return {x, dtype, in[0].device};
}

void Requantize::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const Tensor x = detail::as_contiguous(in[0]), scale = detail::as_contiguous(in[1]);
  const Tensor bias = in.size() > 3 && in[3].defined() ? detail::as_contiguous(in[3]) : Tensor();
  const auto zero = float(in[2].item<int64_t>());
  const Shape& s = x.shape();
  int64_t channels = 1, inner = x.numel();
  if (scale.numel() != 1 || bias.defined()) {
    const int a = check_axis(*this, axis, s);
    channels = s[a];
    inner = 1;
    for (int i = a + 1; i < s.size(); ++i) inner *= s[i];
  }
  const int32_t* p = x.data<int32_t>();
  auto run = [&]<class T>(T* y) {
    constexpr float low = std::is_same_v<T, int8_t> ? -128.f : 0.f;
    constexpr float high = std::is_same_v<T, int8_t> ? 127.f : 255.f;
    const int64_t stretches = x.numel() / inner;
    cpu::parallel_for(
        stretches, std::max<int64_t>(1, 32768 / inner), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            const int64_t c = r % channels;
            const float f = scale.data<float>()[scale.numel() == 1 ? 0 : c];
            const uint32_t b = bias.defined() ? uint32_t(bias.data<int32_t>()[c]) : 0;
            const int32_t* from = p + r * inner;
            T* to = y + r * inner;
            simd([=] {
              for (int64_t i = 0; i < inner; ++i) {
                float v = std::nearbyint(float(int32_t(uint32_t(from[i]) + b)) * f) + zero;
                v = v > low ? v : low;  // NaN becomes the least
                v = v < high ? v : high;
                to[i] = T(int32_t(v));
              }
            });
          }
        });
  };
  if (dtype == i8) run(out[0].data<int8_t>());
  else run(out[0].data<uint8_t>());
}

Samples<Requantize> Requantize::samples() {
  using sample::listed;
  const InputSpec x = listed({2, 3, 4}, {0, 5, -7, 300, -1000, 99999, 2, 3, -3, 25, -25}, i32);
  return {.ok = {{{}, {x, listed({}, {0.5}, f32), listed({}, {3}, u8)}},
                 {{.dtype = i8}, {x, listed({1}, {0.25}, f32), listed({1}, {-2}, i8)}},
                 {{},
                  {x, listed({3}, {0.5, 0.1, 2}, f32), listed({}, {128}, u8),
                   listed({3}, {1, -2, 1000}, i32)}},
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
