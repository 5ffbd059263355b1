#include "tandem/ops/int8_conv2d.h"

#include <algorithm>
#include <vector>

#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/int8_operand.h"

namespace tandem {

TANDEM_OP(Int8Conv2d)

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

/// Sizes: of x, of the weight, of the windows and of the result.
struct Windows {
  int64_t n, c, h, w, out, kh, kw, sh, sw, top, left, dh, dw, groups, oh, ow;
};

/// A number for each of the two axes, or one for both.
int64_t of(const Shape& s, int i) { return s[s.size() > 1 ? i : 0]; }

Windows windows(const Int8Conv2d& op, const Shape& x, const Shape& w) {
  const Sides p = sides(op.padding);
  Windows c{x[0],
            x[1],
            x[2],
            x[3],
            w[0],
            w[2],
            w[3],
            of(op.stride, 0),
            of(op.stride, 1),
            p.top,
            p.left,
            of(op.dilation, 0),
            of(op.dilation, 1),
            op.groups,
            0,
            0};
  c.oh = (c.h + p.top + p.bottom - c.dh * (c.kh - 1) - 1) / c.sh + 1;
  c.ow = (c.w + p.left + p.right - c.dw * (c.kw - 1) - 1) / c.sw + 1;
  return c;
}

/// One row of columns: what one tap of the kernel sees in each place of rows [first, last) of y.
void fill_columns(const Windows& s, const int8_t* plane, int64_t ky, int64_t kx, int64_t first,
                  int64_t last, int8_t zero, int8_t* to) {
  const int64_t dx = kx * s.dw - s.left;
  // Places [begin, end) of a row lie inside of the plane.
  const int64_t begin = std::clamp<int64_t>(dx >= 0 ? 0 : (-dx + s.sw - 1) / s.sw, 0, s.ow);
  const int64_t end =
      std::clamp<int64_t>(s.w - 1 - dx < 0 ? 0 : (s.w - 1 - dx) / s.sw + 1, begin, s.ow);
  for (int64_t y = first; y < last; ++y, to += s.ow) {
    const int64_t row = y * s.sh + ky * s.dh - s.top;
    if (row < 0 || row >= s.h) {
      std::fill_n(to, s.ow, zero);
      continue;
    }
    const int8_t* from = plane + row * s.w + dx;
    std::fill(to, to + begin, zero);
    std::fill(to + end, to + s.ow, zero);
    if (s.sw == 1) std::copy(from + begin, from + end, to + begin);
    else
      for (int64_t x = begin; x < end; ++x) to[x] = from[x * s.sw];
  }
}

/// A plane with its padding, without its zero point, as numbers whose sums are exact. Rows and
/// columns that strides visit together are stored together: [sh][sw][rows][width]. Then what a tap
/// multiplies is one stretch, for all windows at once.
template <class T>
struct Padded {
  int64_t rows, width;

  explicit Padded(const Windows& s)
      : rows(s.oh + (s.kh - 1) * s.dh / s.sh), width(s.ow + (s.kw - 1) * s.dw / s.sw) {}

  int64_t numel(const Windows& s) const { return s.sh * s.sw * rows * width; }
  double size(const Windows& s) const { return double(s.sh * s.sw) * double(rows) * double(width); }
  /// Where the windows' tap begins.
  int64_t offset(const Windows& s, int64_t ky, int64_t kx) const {
    const int64_t y = ky * s.dh, x = kx * s.dw;
    return ((y % s.sh * s.sw + x % s.sw) * rows + y / s.sh) * width + x / s.sw;
  }
  /// `line` has room for a row of the plane.
  void fill(const Windows& s, const int8_t* plane, int32_t zero, T* all, T* line) const {
    for (int64_t py = 0; py < s.sh; ++py)
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t y = r * s.sh + py - s.top;
        const bool outside = y < 0 || y >= s.h;
        if (!outside) {
          const int8_t* __restrict from = plane + y * s.w;
          T* __restrict to = line;
#pragma omp simd
          for (int64_t x = 0; x < s.w; ++x) to[x] = T(from[x] - zero);
        }
        for (int64_t px = 0; px < s.sw; ++px) {
          T* to = all + ((py * s.sw + px) * rows + r) * width;
          if (outside) std::fill_n(to, width, T(0));
          else fill_row(s, px, line, to);
        }
      }
  }
  /// Element j is column j sw + px - left.
  void fill_row(const Windows& s, int64_t px, const T* line, T* to) const {
    const int64_t begin = std::clamp<int64_t>((s.left - px + s.sw - 1) / s.sw, 0, width);
    const int64_t end = std::clamp<int64_t>((s.w + s.left - px + s.sw - 1) / s.sw, begin, width);
    std::fill(to, to + begin, T(0));
    std::fill(to + end, to + width, T(0));
    const T* __restrict from = line + begin * s.sw + px - s.left;
    T* __restrict q = to + begin;
    const int64_t n = end - begin, step = s.sw;
    if (step == 1) {
      std::copy_n(from, n, q);
    } else if (step == 2) {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) q[j] = from[2 * j];
    } else {
      for (int64_t j = 0; j < n; ++j) q[j] = from[j * step];
    }
  }
};

/// sums[i] = the taps' weights times what they see of window i, three taps at a time.
template <class T>
TANDEM_FN void sum_taps(const T* all, int64_t taps, const T* weight, const int64_t* offset,
                        int64_t n, T* sums) {
  constexpr int64_t block = 1024;
  for (int64_t at = 0; at < n; at += block) {
    const int64_t count = std::min(block, n - at);
    T* __restrict y = sums + at;
    for (int64_t t = 0; t < taps; t += 3) {
      const T a = weight[t], b = weight[t + 1], c = weight[t + 2];
      const T* __restrict p = all + offset[t] + at;
      const T* __restrict q = all + offset[t + 1] + at;
      const T* __restrict r = all + offset[t + 2] + at;
      if (t == 0) {
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) y[i] = a * p[i] + b * q[i] + c * r[i];
      } else {
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) y[i] += a * p[i] + b * q[i] + c * r[i];
      }
    }
  }
}

/// Channels with their own filters.
template <class T>
void depthwise(const Windows& s, const int8_t* x, int32_t x_zero, const int8_t* weight,
               int32_t w_zero, int32_t* y) {
  const int64_t multiplier = s.out / s.groups, own = s.kh * s.kw, taps = (own + 2) / 3 * 3;
  const Padded<T> padded(s);
  const int64_t size = padded.numel(s), n = s.oh * padded.width;
  std::vector<int64_t> offsets(size_t(taps), 0);
  std::vector<T> weights(size_t(s.out * taps), T(0));
  for (int64_t t = 0; t < own; ++t) {
    offsets[size_t(t)] = padded.offset(s, t / s.kw, t % s.kw);
    for (int64_t o = 0; o < s.out; ++o)
      weights[size_t(o * taps + t)] = T(weight[o * own + t] - w_zero);
  }
  cpu::parallel_for(s.n * s.c, 1, [&](int64_t begin, int64_t end) {
    const cpu::Scratch memory(size_t(size + padded.width + s.w + n) * sizeof(T));
    T* const all = memory.as<T>();
    T* const line = all + size + padded.width;
    T* const sums = line + s.w;
    std::fill_n(all + size, padded.width, T(0));  // what windows beyond the last see
    simd([=, &s, &padded, &weights, &offsets] {
      for (int64_t i = begin; i < end; ++i) {
        padded.fill(s, x + i * s.h * s.w, x_zero, all, line);
        for (int64_t m = 0; m < multiplier; ++m) {
          sum_taps(all, taps, weights.data() + (i % s.c * multiplier + m) * taps, offsets.data(), n,
                   sums);
          int32_t* to = y + (i * multiplier + m) * s.oh * s.ow;
          for (int64_t row = 0; row < s.oh; ++row, to += s.ow)
            for (int64_t c = 0; c < s.ow; ++c) to[c] = int32_t(sums[row * padded.width + c]);
        }
      }
    });
  });
}

constexpr int64_t column_bytes = int64_t{1} << 18;  // columns that stay in the second-level cache
constexpr int64_t exact_taps = 256;                 // of products below 2^16 in sums below 2^24

void convolve(const Windows& s, const int8_t* x, int32_t x_zero, const int8_t* weight,
              int32_t w_zero, int32_t* y) {
  const int64_t in_group = s.c / s.groups, out_group = s.out / s.groups, places = s.oh * s.ow;
  const int64_t depth = in_group * s.kh * s.kw;
  // Strides and padding far larger than the plane leave nearly nothing in it.
  if (in_group == 1 && Padded<float>(s).size(s) <= 16.0 * double(s.h * s.w + places * s.kh * s.kw))
    return s.kh * s.kw <= exact_taps ? depthwise<float>(s, x, x_zero, weight, w_zero, y)
                                     : depthwise<uint32_t>(s, x, x_zero, weight, w_zero, y);
  const bool plain = s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && s.top == 0 &&
                     s.left == 0 && s.oh == s.h && s.ow == s.w;
  // Parts of the result: some rows of one group of one image.
  const int64_t rows =
      plain ? s.oh
            : std::clamp<int64_t>(column_bytes / std::max<int64_t>(1, depth * s.ow), 1, s.oh);
  const int64_t in_image = (s.oh + rows - 1) / rows, parts = s.n * s.groups * in_image;
  // Few parts are shared out inside.
  cpu::parallel_for(parts, parts < cpu::num_threads() ? parts : 1, [&](int64_t begin, int64_t end) {
    const cpu::Scratch columns(plain ? 64 : size_t(depth * rows * s.ow) + 64);
    int8_t* all = columns.as<int8_t>();
    for (int64_t part = begin; part < end; ++part) {
      const int64_t g = part / in_image % s.groups, image = part / in_image / s.groups;
      const int64_t first = part % in_image * rows, last = std::min(s.oh, first + rows);
      const int64_t width = (last - first) * s.ow;
      const int8_t* planes = x + (image * s.c + g * in_group) * s.h * s.w;
      int32_t* to = y + (image * s.out + g * out_group) * places + first * s.ow;
      if (!plain)
        cpu::parallel_for(depth, std::max<int64_t>(1, 65536 / std::max<int64_t>(1, width)),
                          [&](int64_t from, int64_t until) {
                            for (int64_t d = from; d < until; ++d)
                              fill_columns(s, planes + d / (s.kh * s.kw) * s.h * s.w,
                                           d / s.kw % s.kh, d % s.kw, first, last,
                                           static_cast<int8_t>(x_zero), all + d * width);
                          });
      cpu::gemm_int8(out_group, width, depth, weight + g * out_group * depth, depth, w_zero,
                     plain ? planes : all, width, x_zero, to, places);
    }
  });
}

}  // namespace

Spec Int8Conv2d::infer(Specs in) const {
  detail::check_int8_operands(*this, in);
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
  using detail::may_be_less, detail::may_equal;
  check<ShapeError>(may_be_less(0, w[2]) && may_be_less(0, w[3]) &&
                        may_equal(x[1], w[1] * groups) && may_equal(w[0] % groups, 0),
                    *this, "x of shape ", x, " and weight of shape ", w, " do not fit");
  const Sides p = sides(padding);
  const Length h = x[2] + p.top + p.bottom - of(dilation, 0) * (w[2] - 1) - 1,
               v = x[3] + p.left + p.right - of(dilation, 1) * (w[3] - 1) - 1;
  check<ShapeError>(detail::may_fit(0, h) && detail::may_fit(0, v), *this, "weight of shape ", w,
                    " reaches beyond the padded x of shape ", x);
  if (in.has(2))
    check<ShapeError>(may_equal(in[2].shape.numel(), 1), *this, "x_zero of shape ", in[2].shape);
  if (in.has(3))
    check<ShapeError>(may_equal(in[3].shape.numel(), 1) || may_equal(in[3].shape, Shape{w[0]}),
                      *this, "w_zero of shape ", in[3].shape, " for ", w[0], " channels");
  return {Shape{x[0], w[0], h / of(stride, 0) + 1, v / of(stride, 1) + 1}, i32, in[0].device};
}

void Int8Conv2d::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const auto given = [&](size_t i) { return i < in.size() ? in[i] : Tensor(); };
  const detail::Int8Operand x(in[0], given(2)), w(in[1], given(3));
  Windows s = windows(*this, x.values.shape(), w.values.shape());
  int32_t* y = out[0].data<int32_t>();
  if (w.one()) return convolve(s, x.data(), x.zeros[0], w.data(), w.zeros[0], y);
  // A zero point for each channel: one convolution after another.
  const int64_t each = s.c / s.groups * s.kh * s.kw, places = s.oh * s.ow, all = s.out;
  const int64_t in_group = s.c / s.groups, out_group = s.out / s.groups;
  Windows one = s;
  one.n = 1, one.groups = 1, one.c = in_group, one.out = 1;
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t o = 0; o < all; ++o)
      convolve(one, x.data() + (n * s.c + o / out_group * in_group) * s.h * s.w, x.zeros[0],
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
                 {{.stride = {3, 2}, .padding = {2, 3}, .dilation = {2, 3}, .groups = 2},
                  {bytes({2, 2, 13, 16}, u8), bytes({4, 1, 3, 2}, i8), listed({}, {200}, u8)}},
                 {{.groups = 2}, {bytes({1, 2, 19, 18}, u8), bytes({2, 1, 17, 16}, u8)}},
                 {{.stride = {50}, .padding = {200}},
                  {bytes({1, 1, 3, 2}, i8), bytes({2, 1, 1, 1}, i8)}},
                 {{.padding = {1}}, {bytes({1, 40, 40, 30}, u8), bytes({20, 40, 3, 3}, i8)}},
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

}  // namespace tandem
