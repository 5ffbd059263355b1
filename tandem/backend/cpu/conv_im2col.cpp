#include "tandem/backend/cpu/conv_im2col.h"

#include <algorithm>
#include <type_traits>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu::im2col {
namespace {

// Unfolded windows of one block stay in the second-level cache.
constexpr int64_t block_bytes = 512 << 10;

int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// Sizes of one group, and of the blocks of output rows that are unfolded at a time.
struct Group {
  int64_t c, oc, taps, out_h, out_w, area, x_size, y_size, w_size, block;
  bool pointwise;  // the image is its own unfolding

  Group(const ConvShape& s, int64_t element)
      : c(s.c / s.groups),
        oc(s.oc / s.groups),
        taps(c * s.kh * s.kw),
        out_h(s.out_h()),
        out_w(s.out_w()),
        area(out_h * out_w),
        x_size(c * s.h * s.w),
        y_size(oc * area),
        w_size(oc * taps),
        block(out_h),
        pointwise(s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_h == 0 &&
                  s.pad_w == 0) {
    const int64_t row = std::max<int64_t>(1, taps * out_w * element);
    if (!pointwise) block = std::clamp<int64_t>(block_bytes / row, 1, out_h);
  }

  size_t cols_bytes(size_t element) const {
    return pointwise ? 64 : static_cast<size_t>(taps * block * out_w) * element;
  }
};

// Output columns whose window column `offset` falls inside [0, width).
struct Range {
  int64_t begin, end;

  Range(int64_t offset, int64_t width, int64_t stride, int64_t out)
      : begin(std::clamp<int64_t>(ceil_div(-offset, stride), 0, out)),
        end(std::clamp<int64_t>(ceil_div(width - offset, stride), begin, out)) {}
};

template <class T>
T plus(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return a + b;
  }
}

template <class T>
void fold(const ConvShape& s, int64_t channels, const T* cols, int64_t row, int64_t rows, T* x) {
  const int64_t out_w = s.out_w();
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < s.kh * s.kw; ++i, cols += rows * out_w) {
      const int64_t shift = i % s.kw * s.dil_w - s.pad_w;
      const Range range(shift, s.w, s.stride_w, out_w);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t ih = (row + r) * s.stride_h + i / s.kw * s.dil_h - s.pad_h;
        if (ih < 0 || ih >= s.h) continue;
        T* dst = x + (c * s.h + ih) * s.w + shift;
        const T* src = cols + r * out_w;
        for (int64_t q = range.begin; q < range.end; ++q) {
          dst[q * s.stride_w] = plus(dst[q * s.stride_w], src[q]);
        }
      }
    }
  }
}

// body(image, group) on every pair: in parallel when there are enough of them, else one after the
// other with the threads inside the matrix products.
template <class F>
void for_each_pair(const ConvShape& s, F&& body) {
  const int64_t pairs = s.n * s.groups;
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i / s.groups, i % s.groups);
  };
  if (pairs < 2 * usable_threads()) return some(0, pairs);
  parallel_for(pairs, 1, some);
}

}  // namespace

template <class T>
void unfold(const ConvShape& s, int64_t channels, const T* x, int64_t row, int64_t rows, T* cols) {
  const int64_t out_w = s.out_w();
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < s.kh * s.kw; ++i) {
      const int64_t shift = i % s.kw * s.dil_w - s.pad_w;
      const Range range(shift, s.w, s.stride_w, out_w);
      for (int64_t r = 0; r < rows; ++r, cols += out_w) {
        const int64_t ih = (row + r) * s.stride_h + i / s.kw * s.dil_h - s.pad_h;
        if (ih < 0 || ih >= s.h) {
          std::fill_n(cols, out_w, T{0});
          continue;
        }
        const T* src = x + (c * s.h + ih) * s.w + shift;
        std::fill_n(cols, range.begin, T{0});
        if (s.stride_w == 1) {
          std::copy(src + range.begin, src + range.end, cols + range.begin);
        } else {
          for (int64_t q = range.begin; q < range.end; ++q) cols[q] = src[q * s.stride_w];
        }
        std::fill(cols + range.end, cols + out_w, T{0});
      }
    }
  }
}

template <class T>
void forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  const Group g(s, sizeof(T));
  for_each_pair(s, [&](int64_t image, int64_t group) {
    const T* xg = x + (image * s.groups + group) * g.x_size;
    T* yg = y + (image * s.groups + group) * g.y_size;
    if (bias != nullptr) {
      for (int64_t o = 0; o < g.oc; ++o) {
        std::fill_n(yg + o * g.area, g.area, bias[group * g.oc + o]);
      }
    }
    const Scratch cols(g.cols_bytes(sizeof(T)));
    for (int64_t row = 0; row < g.out_h; row += g.block) {
      const int64_t rows = std::min(g.block, g.out_h - row);
      const T* windows = g.pointwise ? xg : cols.as<T>();
      if (!g.pointwise) unfold(s, g.c, xg, row, rows, cols.as<T>());
      const int64_t count = rows * g.out_w;
      gemm(false, false, g.oc, count, g.taps, T{1}, w + group * g.w_size, g.taps, windows, count,
           bias == nullptr ? T{0} : T{1}, yg + row * g.out_w, g.area);
    }
  });
}

template <class T>
void backward_data(const ConvShape& s, const T* dy, const T* w, T* dx) {
  const Group g(s, sizeof(T));
  for_each_pair(s, [&](int64_t image, int64_t group) {
    const T* dyg = dy + (image * s.groups + group) * g.y_size;
    T* dxg = dx + (image * s.groups + group) * g.x_size;
    if (!g.pointwise) std::fill_n(dxg, g.x_size, T{0});
    const Scratch cols(g.cols_bytes(sizeof(T)));
    for (int64_t row = 0; row < g.out_h; row += g.block) {
      const int64_t rows = std::min(g.block, g.out_h - row);
      const int64_t count = rows * g.out_w;
      T* windows = g.pointwise ? dxg : cols.as<T>();
      gemm(true, false, g.taps, count, g.oc, T{1}, w + group * g.w_size, g.taps,
           dyg + row * g.out_w, g.area, T{0}, windows, count);
      if (!g.pointwise) fold(s, g.c, windows, row, rows, dxg);
    }
  });
}

template <class T>
void backward_weights(const ConvShape& s, const T* x, const T* dy, T* dw) {
  const Group g(s, sizeof(T));
  const auto one_group = [&](int64_t group) {
    T* dwg = dw + group * g.w_size;
    std::fill_n(dwg, g.w_size, T{0});
    const Scratch cols(g.cols_bytes(sizeof(T)));
    for (int64_t image = 0; image < s.n; ++image) {
      const T* xg = x + (image * s.groups + group) * g.x_size;
      const T* dyg = dy + (image * s.groups + group) * g.y_size;
      for (int64_t row = 0; row < g.out_h; row += g.block) {
        const int64_t rows = std::min(g.block, g.out_h - row);
        const T* windows = g.pointwise ? xg : cols.as<T>();
        if (!g.pointwise) unfold(s, g.c, xg, row, rows, cols.as<T>());
        const int64_t count = rows * g.out_w;
        gemm(false, true, g.oc, g.taps, count, T{1}, dyg + row * g.out_w, g.area, windows, count,
             T{1}, dwg, g.taps);
      }
    }
  };
  if (s.groups < 2 * usable_threads()) {
    for (int64_t group = 0; group < s.groups; ++group) one_group(group);
    return;
  }
  parallel_for(s.groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) one_group(group);
  });
}

template <class T>
void bias_gradient(const ConvShape& s, const T* dy, T* db) {
  const int64_t area = s.out_h() * s.out_w();
  const int64_t grain = 65536 / std::max<int64_t>(1, s.n * area);
  parallel_for(s.oc, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      double total = 0;
      for (int64_t image = 0; image < s.n; ++image) {
        const T* plane = dy + (image * s.oc + o) * area;
        T lanes[16] = {};
        int64_t i = 0;
        for (; i + 16 <= area; i += 16) {
          for (int64_t q = 0; q < 16; ++q) lanes[q] += plane[i + q];
        }
        for (; i < area; ++i) lanes[0] += plane[i];
        for (const T lane : lanes) total += static_cast<double>(lane);
      }
      db[o] = static_cast<T>(total);
    }
  });
}

#define TANDEM_IM2COL(T)                                                              \
  template void unfold<T>(const ConvShape&, int64_t, const T*, int64_t, int64_t, T*); \
  template void forward<T>(const ConvShape&, const T*, const T*, const T*, T*);       \
  template void backward_data<T>(const ConvShape&, const T*, const T*, T*);           \
  template void backward_weights<T>(const ConvShape&, const T*, const T*, T*);
TANDEM_IM2COL(float)
TANDEM_IM2COL(double)
TANDEM_IM2COL(int64_t)
#undef TANDEM_IM2COL
template void bias_gradient<float>(const ConvShape&, const float*, float*);
template void bias_gradient<double>(const ConvShape&, const double*, double*);

}  // namespace tandem::cpu::im2col
