#include "tandem/backend/cpu/pool.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <type_traits>
#include <vector>

#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {
namespace {

// Positions as wide as the values keep both in the same vector lanes; a plane of 2^31 f32 values is
// beyond any picture, and goes the slow way.
template <class T>
using Index = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;

constexpr int64_t kBlock = 256;
constexpr int64_t kLanes = 16;

// Whole windows of a fixed size: outputs [begin, end) of one row, x at the row's first window.
template <int KH, int KW, int S, class T>
TANDEM_ALWAYS_INLINE void max_span(int32_t begin, int32_t end, const T* __restrict x, int64_t w,
                                   int64_t corner, T* __restrict y, Index<T>* __restrict index) {
  const auto start = static_cast<Index<T>>(corner);
  const auto down = static_cast<Index<T>>(w);
  for (int32_t j = begin; j < end; ++j) {
    T most = x[j * S];
    Index<T> at = start + static_cast<Index<T>>(j) * S;
    const Index<T> first = at;
    for (int r = 0; r < KH; ++r) {
      for (int q = 0; q < KW; ++q) {
        const T v = x[r * w + j * S + q];
        const bool take = (v > most) | (v != v);
        most = take ? v : most;
        at = take ? first + static_cast<Index<T>>(r) * down + q : at;
      }
    }
    y[j] = most;
    index[j] = at;
  }
}

// Spans of constant length leave no remainder to do one by one.
template <int KH, int KW, int S, class T>
TANDEM_ALWAYS_INLINE void max_body(int64_t count, const T* __restrict x, int64_t w, int64_t corner,
                                   T* __restrict y, Index<T>* __restrict index) {
  const auto n = static_cast<int32_t>(count);
  int32_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    max_span<KH, KW, S>(0, kLanes, x + j * S, w, corner + j * S, y + j, index + j);
  }
  max_span<KH, KW, S>(j, n, x, w, corner, y, index);
}

template <class T>
using MaxRow = void (*)(int64_t, const T*, int64_t, int64_t, T*, Index<T>*);

template <int KH, int KW, int S, class T>
void max_baseline(int64_t n, const T* x, int64_t w, int64_t corner, T* y, Index<T>* index) {
  max_body<KH, KW, S>(n, x, w, corner, y, index);
}

#if TANDEM_X86
template <int KH, int KW, int S, class T>
TANDEM_TARGET_AVX2 void max_avx2(int64_t n, const T* x, int64_t w, int64_t corner, T* y,
                                 Index<T>* index) {
  max_body<KH, KW, S>(n, x, w, corner, y, index);
}

template <int KH, int KW, int S, class T>
TANDEM_TARGET_AVX512 void max_avx512(int64_t n, const T* x, int64_t w, int64_t corner, T* y,
                                     Index<T>* index) {
  max_body<KH, KW, S>(n, x, w, corner, y, index);
}
#endif

template <int KH, int KW, int S, class T>
MaxRow<T> max_row() {
#if TANDEM_X86
  if (isa() == Isa::avx512) return &max_avx512<KH, KW, S, T>;
  if (isa() == Isa::avx2) return &max_avx2<KH, KW, S, T>;
#endif
  return &max_baseline<KH, KW, S, T>;
}

// The usual windows have a kernel; null for all others.
template <class T>
MaxRow<T> max_kernel(const PoolShape& s) {
  if (s.dil_h != 1 || s.dil_w != 1 || s.h * s.w >= std::numeric_limits<int32_t>::max()) {
    return nullptr;
  }
  if (s.kh == 2 && s.kw == 2 && s.stride_w == 2) return max_row<2, 2, 2, T>();
  if (s.kh == 3 && s.kw == 3 && s.stride_w == 2) return max_row<3, 3, 2, T>();
  if (s.kh == 3 && s.kw == 3 && s.stride_w == 1) return max_row<3, 3, 1, T>();
  return nullptr;
}

template <class T>
void max_window(const PoolShape& s, const T* plane, int64_t oh, int64_t ow, T* y, int64_t* index) {
  int64_t h0 = oh * s.stride_h - s.pad_h, w0 = ow * s.stride_w - s.pad_w;
  const int64_t h1 = std::min(h0 + (s.kh - 1) * s.dil_h + 1, s.h);
  const int64_t w1 = std::min(w0 + (s.kw - 1) * s.dil_w + 1, s.w);
  while (h0 < 0) h0 += s.dil_h;
  while (w0 < 0) w0 += s.dil_w;
  T most = -std::numeric_limits<T>::infinity();
  int64_t at = h0 * s.w + w0;
  for (int64_t i = h0; i < h1; i += s.dil_h) {
    for (int64_t j = w0; j < w1; j += s.dil_w) {
      const T v = plane[i * s.w + j];
      if (v > most || v != v) {
        most = v;
        at = i * s.w + j;
      }
    }
  }
  *y = most;
  if (index != nullptr) *index = at;
}

// Outputs [begin, end) along one axis whose windows lie wholly inside the input.
struct Inside {
  int64_t begin, end;

  Inside(int64_t size, int64_t out, int64_t k, int64_t stride, int64_t pad, int64_t dil)
      : begin(std::min((pad + stride - 1) / stride, out)), end(begin) {
    const int64_t last = size + pad - (k - 1) * dil - 1;
    if (last >= 0) end = std::clamp(last / stride + 1, begin, out);
  }
};

// `end_of_x` is that of all planes: short rows are done as whole spans where that reads nothing
// beyond.
template <class T>
void max_plane(const PoolShape& s, MaxRow<T> kernel, const Inside& rows, const Inside& cols,
               const T* plane, const T* end_of_x, T* y, int64_t* index) {
  T most[kBlock];
  Index<T> at[kBlock];
  for (int64_t i = 0; i < s.out_h; ++i) {
    const bool fast = kernel != nullptr && i >= rows.begin && i < rows.end;
    const int64_t begin = fast ? cols.begin : s.out_w, end = fast ? cols.end : s.out_w;
    T* yr = y + i * s.out_w;
    int64_t* ir = index == nullptr ? nullptr : index + i * s.out_w;
    const auto slow = [&](int64_t from, int64_t to) {
      for (int64_t j = from; j < to; ++j) {
        max_window(s, plane, i, j, yr + j, ir == nullptr ? nullptr : ir + j);
      }
    };
    slow(0, begin);
    for (int64_t j = begin; j < end; j += kBlock) {
      const int64_t count = std::min(kBlock, end - j);
      const int64_t corner = (i * s.stride_h - s.pad_h) * s.w + j * s.stride_w - s.pad_w;
      const int64_t whole = (count + kLanes - 1) / kLanes * kLanes;
      const int64_t reach = corner + (s.kh - 1) * s.w + (whole - 1) * s.stride_w + s.kw;
      kernel(reach <= end_of_x - plane ? whole : count, plane + corner, s.w, corner, most, at);
      std::copy_n(most, count, yr + j);
      if (ir != nullptr) std::copy_n(at, count, ir + j);
    }
    slow(end, s.out_w);
  }
}

int64_t plane_grain(int64_t per_plane) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, per_plane));
}

// Averaging windows along one axis: elements [begin, end) of the input, and the length that counts.
struct Windows {
  std::vector<int64_t> begin, end, length;

  void add(int64_t from, int64_t to, int64_t counted) {
    begin.push_back(from);
    end.push_back(to);
    length.push_back(counted);
  }

  static Windows sliding(int64_t size, int64_t out, int64_t k, int64_t stride, int64_t pad,
                         bool count_pad) {
    Windows all;
    for (int64_t i = 0; i < out; ++i) {
      const int64_t from = i * stride - pad;
      const int64_t to = std::min(from + k, size + pad);
      const int64_t a = std::max<int64_t>(from, 0), b = std::max(a, std::min(to, size));
      all.add(a, b, count_pad ? to - from : b - a);
    }
    return all;
  }

  static Windows adaptive(int64_t size, int64_t out) {
    Windows all;
    for (int64_t i = 0; i < out; ++i) {
      const int64_t from = i * size / out;
      const int64_t to = ((i + 1) * size + out - 1) / out;
      all.add(from, to, to - from);
    }
    return all;
  }
};

struct Average {
  int64_t planes, h, w;
  Windows rows, cols;
  int64_t divisor;  // 0: the windows' size

  int64_t out_h() const { return static_cast<int64_t>(rows.begin.size()); }
  int64_t out_w() const { return static_cast<int64_t>(cols.begin.size()); }
};

// 1 / divisor of every output.
template <class T>
std::vector<T> scales_of(const Average& a) {
  std::vector<T> scales;
  scales.reserve(a.rows.length.size() * a.cols.length.size());
  for (const int64_t down : a.rows.length) {
    for (const int64_t across : a.cols.length) {
      const int64_t by = a.divisor != 0 ? a.divisor : down * across;
      scales.push_back(static_cast<T>(1.0 / static_cast<double>(by)));
    }
  }
  return scales;
}

template <class T>
TANDEM_ALWAYS_INLINE void add_to(int64_t n, const T* __restrict from, T* __restrict to) {
  for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

template <class T>
void add_baseline(int64_t n, const T* from, T* to) {
  add_to(n, from, to);
}

#if TANDEM_X86
template <class T>
TANDEM_TARGET_AVX2 void add_avx2(int64_t n, const T* from, T* to) {
  add_to(n, from, to);
}
#endif

template <class T>
auto add_kernel() {
#if TANDEM_X86
  if (isa() != Isa::baseline) return &add_avx2<T>;
#endif
  return &add_baseline<T>;
}

// Rows of a window are summed first, along whole lines; then each window's columns.
template <class T>
void average(const Average& a, const T* x, T* y) {
  const auto add = add_kernel<T>();
  const int64_t out_h = a.out_h(), out_w = a.out_w();
  const std::vector<T> scales = scales_of<T>(a);
  parallel_for(a.planes, plane_grain(a.h * a.w), [&](int64_t begin, int64_t end) {
    const Scratch line(static_cast<size_t>(a.w) * sizeof(T));
    T* sums = line.as<T>();
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t i = 0; i < out_h; ++i) {
        const auto row = static_cast<size_t>(i);
        std::fill_n(sums, a.w, T{0});
        for (int64_t r = a.rows.begin[row]; r < a.rows.end[row]; ++r) {
          add(a.w, x + (p * a.h + r) * a.w, sums);
        }
        T* out = y + (p * out_h + i) * out_w;
        const T* scale = scales.data() + i * out_w;
        for (int64_t j = 0; j < out_w; ++j) {
          const auto col = static_cast<size_t>(j);
          T sum{0};
          for (int64_t q = a.cols.begin[col]; q < a.cols.end[col]; ++q) sum += sums[q];
          // An empty window gives 0, even where its divisor is 0.
          const bool empty =
              a.cols.begin[col] == a.cols.end[col] || a.rows.begin[row] == a.rows.end[row];
          out[j] = empty ? T{0} : sum * scale[j];
        }
      }
    }
  });
}

template <class T>
void average_backward(const Average& a, const T* dy, T* dx) {
  const auto add = add_kernel<T>();
  const int64_t out_h = a.out_h(), out_w = a.out_w();
  const std::vector<T> scales = scales_of<T>(a);
  parallel_for(a.planes, plane_grain(a.h * a.w), [&](int64_t begin, int64_t end) {
    const Scratch line(static_cast<size_t>(a.w) * sizeof(T));
    T* shares = line.as<T>();
    std::fill(dx + begin * a.h * a.w, dx + end * a.h * a.w, T{0});
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t i = 0; i < out_h; ++i) {
        const auto row = static_cast<size_t>(i);
        if (a.rows.begin[row] == a.rows.end[row]) continue;
        std::fill_n(shares, a.w, T{0});
        for (int64_t j = 0; j < out_w; ++j) {
          const auto col = static_cast<size_t>(j);
          if (a.cols.begin[col] == a.cols.end[col]) continue;
          const T share =
              dy[(p * out_h + i) * out_w + j] * scales[static_cast<size_t>(i * out_w + j)];
          for (int64_t q = a.cols.begin[col]; q < a.cols.end[col]; ++q) shares[q] += share;
        }
        for (int64_t r = a.rows.begin[row]; r < a.rows.end[row]; ++r) {
          add(a.w, shares, dx + (p * a.h + r) * a.w);
        }
      }
    }
  });
}

Average sliding(const PoolShape& s, bool count_pad, int64_t divisor) {
  return {s.planes,
          s.h,
          s.w,
          Windows::sliding(s.h, s.out_h, s.kh, s.stride_h, s.pad_h, count_pad),
          Windows::sliding(s.w, s.out_w, s.kw, s.stride_w, s.pad_w, count_pad),
          divisor};
}

Average adaptive(int64_t planes, int64_t h, int64_t w, int64_t out_h, int64_t out_w) {
  return {planes, h, w, Windows::adaptive(h, out_h), Windows::adaptive(w, out_w), 0};
}

}  // namespace

template <class T>
void max_pool2d(const PoolShape& s, const T* x, T* y, int64_t* indices) {
  const MaxRow<T> kernel = max_kernel<T>(s);
  const Inside rows(s.h, s.out_h, s.kh, s.stride_h, s.pad_h, s.dil_h);
  const Inside cols(s.w, s.out_w, s.kw, s.stride_w, s.pad_w, s.dil_w);
  const int64_t out = s.out_h * s.out_w;
  parallel_for(s.planes, plane_grain(out * s.kh * s.kw), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      max_plane(s, kernel, rows, cols, x + p * s.h * s.w, x + s.planes * s.h * s.w, y + p * out,
                indices == nullptr ? nullptr : indices + p * out);
    }
  });
}

template <class T>
int64_t max_pool2d_backward(const PoolShape& s, const T* dy, const int64_t* indices, T* dx) {
  const int64_t out = s.out_h * s.out_w, in = s.h * s.w;
  std::atomic<int64_t> bad{-1};
  parallel_for(s.planes, plane_grain(in), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      T* plane = dx + p * in;
      std::fill_n(plane, in, T{0});
      for (int64_t i = p * out; i < (p + 1) * out; ++i) {
        if (static_cast<uint64_t>(indices[i]) >= static_cast<uint64_t>(in)) {
          bad.store(i, std::memory_order_relaxed);
          return;
        }
        plane[indices[i]] += dy[i];
      }
    }
  });
  return bad.load(std::memory_order_relaxed);
}

template <class T>
void avg_pool2d(const PoolShape& s, bool count_include_pad, int64_t divisor_override, const T* x,
                T* y) {
  average(sliding(s, count_include_pad, divisor_override), x, y);
}

template <class T>
void avg_pool2d_backward(const PoolShape& s, bool count_include_pad, int64_t divisor_override,
                         const T* dy, T* dx) {
  average_backward(sliding(s, count_include_pad, divisor_override), dy, dx);
}

template <class T>
void adaptive_avg_pool2d(int64_t planes, int64_t h, int64_t w, int64_t out_h, int64_t out_w,
                         const T* x, T* y) {
  average(adaptive(planes, h, w, out_h, out_w), x, y);
}

template <class T>
void adaptive_avg_pool2d_backward(int64_t planes, int64_t h, int64_t w, int64_t out_h,
                                  int64_t out_w, const T* dy, T* dx) {
  average_backward(adaptive(planes, h, w, out_h, out_w), dy, dx);
}

#define TANDEM_POOL(T)                                                                            \
  template TANDEM_API void max_pool2d<T>(const PoolShape&, const T*, T*, int64_t*);               \
  template TANDEM_API int64_t max_pool2d_backward<T>(const PoolShape&, const T*, const int64_t*,  \
                                                     T*);                                         \
  template TANDEM_API void avg_pool2d<T>(const PoolShape&, bool, int64_t, const T*, T*);          \
  template TANDEM_API void avg_pool2d_backward<T>(const PoolShape&, bool, int64_t, const T*, T*); \
  template TANDEM_API void adaptive_avg_pool2d<T>(int64_t, int64_t, int64_t, int64_t, int64_t,    \
                                                  const T*, T*);                                  \
  template TANDEM_API void adaptive_avg_pool2d_backward<T>(int64_t, int64_t, int64_t, int64_t,    \
                                                           int64_t, const T*, T*);
TANDEM_POOL(float)
TANDEM_POOL(double)
#undef TANDEM_POOL

}  // namespace tandem::cpu
