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

constexpr int64_t vector_lanes = 16;

/// What every element of a window is larger than, or equal to.
template <class T>
constexpr T least() {
  using L = std::numeric_limits<T>;
  return L::has_infinity ? -L::infinity() : L::lowest();
}

// A row of the input, cut into S parts: with as many as windows step columns, one element of every
// window is one run of memory. What lies outside of the input is -inf: no window takes it.
template <int S, class T>
TANDEM_ALWAYS_INLINE void split_body(const T* __restrict x, int64_t w, int64_t pad, int64_t length,
                                     T* __restrict to) {
  for (int64_t part = 0; part < S; ++part, to += length) {
    const int64_t shift = part - pad;
    const int64_t begin = std::min(shift < 0 ? (S - 1 - shift) / S : 0, length);
    const int64_t end = std::clamp((w - shift + S - 1) / S, begin, length);
    std::fill_n(to, begin, -std::numeric_limits<T>::infinity());
    for (int64_t j = begin; j < end; ++j) to[j] = x[j * S + shift];
    std::fill_n(to + end, length - end, -std::numeric_limits<T>::infinity());
  }
}

// `whole` outputs of one row, whole vectors of them, from KH rows of P such parts; `first` is where
// each window's first element inside of the input lies, `corner` that of the first window, inside
// or not.
template <int KH, int KW, int S, int P, class T>
TANDEM_ALWAYS_INLINE void max_body(int64_t whole, const T* const* rows, int64_t length, int64_t w,
                                   int64_t corner, const Index<T>* __restrict first,
                                   int64_t first_row, T* __restrict y, Index<T>* __restrict index) {
  const auto start = static_cast<Index<T>>(corner), down = static_cast<Index<T>>(w);
  const auto above = static_cast<Index<T>>(first_row);
  const auto n = static_cast<int32_t>(whole);
  for (int32_t j = 0; j < n; ++j) {
    T most = -std::numeric_limits<T>::infinity();
    Index<T> at = above + first[j];
    const Index<T> here = start + static_cast<Index<T>>(j) * S;
    for (int r = 0; r < KH; ++r) {
      for (int q = 0; q < KW; ++q) {
        const T v = rows[r][P == 1 ? j * S + q : q % P * length + j + q / P];
        const bool take = (v > most) | (v != v);
        most = take ? v : most;
        at = take ? here + static_cast<Index<T>>(r) * down + q : at;
      }
    }
    y[j] = most;
    index[j] = at;
  }
}

template <class T>
struct MaxKernels {
  int parts = 0;  // 0: no kernel for this window
  void (*split)(const T*, int64_t, int64_t, int64_t, T*) = nullptr;
  void (*row)(int64_t, const T* const*, int64_t, int64_t, int64_t, const Index<T>*, int64_t, T*,
              Index<T>*) = nullptr;
};

#define TANDEM_MAX_KERNELS(suffix, target)                                                  \
  template <int S, class T>                                                                 \
  target void split_##suffix(const T* x, int64_t w, int64_t pad, int64_t length, T* to) {   \
    split_body<S>(x, w, pad, length, to);                                                   \
  }                                                                                         \
  template <int KH, int KW, int S, int P, class T>                                          \
  target void max_##suffix(int64_t n, const T* const* rows, int64_t length, int64_t w,      \
                           int64_t corner, const Index<T>* first, int64_t first_row, T* y,  \
                           Index<T>* index) {                                               \
    const T* copy[KH];                                                                      \
    std::copy_n(rows, KH, copy);                                                            \
    max_body<KH, KW, S, P>(n / vector_lanes * vector_lanes, copy, length, w, corner, first, \
                           first_row, y, index);                                            \
  }
TANDEM_MAX_KERNELS(baseline, )
#if TANDEM_X86
TANDEM_MAX_KERNELS(avx2, TANDEM_TARGET_AVX2)
TANDEM_MAX_KERNELS(avx512, TANDEM_TARGET_AVX512)
#endif
#undef TANDEM_MAX_KERNELS

template <int KH, int KW, int S, int P, class T>
MaxKernels<T> max_kernels_for() {
#if TANDEM_X86
  if (isa() == Isa::avx512) return {P, &split_avx512<P, T>, &max_avx512<KH, KW, S, P, T>};
  if (isa() == Isa::avx2) return {P, &split_avx2<P, T>, &max_avx2<KH, KW, S, P, T>};
#endif
  return {P, &split_baseline<P, T>, &max_baseline<KH, KW, S, P, T>};
}

// The usual windows have kernels. Where windows do not overlap, a cut would be used only once.
template <class T>
MaxKernels<T> max_kernels(const PoolShape& s) {
  if constexpr (std::is_integral_v<T>) return {};
  else if (s.dil_h != 1 || s.dil_w != 1 || s.h * s.w >= std::numeric_limits<int32_t>::max())
    return {};
  else if (s.kh == 2 && s.kw == 2 && s.stride_w == 2) return max_kernels_for<2, 2, 2, 1, T>();
  else if (s.kh == 3 && s.kw == 3 && s.stride_w == 2) return max_kernels_for<3, 3, 2, 2, T>();
  else if (s.kh == 3 && s.kw == 3 && s.stride_w == 1) return max_kernels_for<3, 3, 1, 1, T>();
  else return {};
}

template <class T>
void max_window(const PoolShape& s, const T* plane, int64_t oh, int64_t ow, T* y, int64_t* index) {
  int64_t h0 = oh * s.stride_h - s.pad_h, w0 = ow * s.stride_w - s.pad_w;
  const int64_t h1 = std::min(h0 + (s.kh - 1) * s.dil_h + 1, s.h);
  const int64_t w1 = std::min(w0 + (s.kw - 1) * s.dil_w + 1, s.w);
  while (h0 < 0) h0 += s.dil_h;
  while (w0 < 0) w0 += s.dil_w;
  T most = least<T>();
  int64_t at = h0 < h1 && w0 < w1 ? h0 * s.w + w0 : -1;
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

template <class T>
void max_plane(const PoolShape& s, const T* plane, T* y, int64_t* index) {
  for (int64_t i = 0; i < s.out_h; ++i) {
    for (int64_t j = 0; j < s.out_w; ++j, ++y) {
      max_window(s, plane, i, j, y, index == nullptr ? nullptr : index++);
    }
  }
}

// The last kh rows of the input lie split in a ring; each is split once. Rows that need neither
// cuts nor borders are read where they are, unless that would read beyond the last plane.
template <class T>
class MaxRows {
 public:
  MaxRows(const PoolShape& s, const MaxKernels<T>& kernels, const T* end_of_x)
      : s_(s),
        kernels_(kernels),
        end_of_x_(end_of_x),
        whole_((s.out_w + vector_lanes - 1) / vector_lanes * vector_lanes),
        reach_((whole_ - 1) * s.stride_w + s.kw),
        length_((reach_ + kernels.parts - 1) / kernels.parts),
        plain_(kernels.parts == 1 && s.pad_w == 0 && (s.out_w - 1) * s.stride_w + s.kw <= s.w),
        ring_(static_cast<size_t>(s.kh * kernels.parts * length_) * sizeof(T)),
        results_(static_cast<size_t>(whole_) * (sizeof(T) + 2 * sizeof(Index<T>))) {
    for (int64_t j = 0; j < whole_; ++j) {
      first()[j] = static_cast<Index<T>>(std::max<int64_t>(j * s.stride_w - s.pad_w, 0));
    }
  }

  void plane(const T* x, T* y, int64_t* index) const {
    int64_t next = -s_.pad_h;
    for (int64_t i = 0; i < s_.out_h; ++i, y += s_.out_w) {
      const int64_t top = i * s_.stride_h - s_.pad_h;
      const T* rows[most_rows];
      for (int64_t r = 0; r < s_.kh; ++r) {
        const int64_t at = top + r;
        const bool inside = at >= 0 && at < s_.h;
        rows[r] = inside ? x + at * s_.w : x;
        if (plain_ && inside && rows[r] + reach_ <= end_of_x_) continue;
        T* split = ring_.as<T>() + (at + s_.pad_h) % s_.kh * kernels_.parts * length_;
        if (at >= next) kernels_.split(rows[r], inside ? s_.w : 0, s_.pad_w, length_, split);
        rows[r] = split;
      }
      next = std::max(next, top + s_.kh);
      kernels_.row(whole_, rows, length_, s_.w, top * s_.w - s_.pad_w, first(),
                   std::max<int64_t>(top, 0) * s_.w, most(), at());
      std::copy_n(most(), s_.out_w, y);
      if (index == nullptr) continue;
      std::copy_n(at(), s_.out_w, index);
      index += s_.out_w;
    }
  }

 private:
  static constexpr int64_t most_rows = 3;

  T* most() const { return results_.as<T>(); }
  Index<T>* at() const { return reinterpret_cast<Index<T>*>(most() + whole_); }
  Index<T>* first() const { return at() + whole_; }

  const PoolShape& s_;
  const MaxKernels<T>& kernels_;
  const T* end_of_x_;
  int64_t whole_, reach_, length_;
  bool plain_;
  Scratch ring_, results_;
};

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

// 1 / divisor of every output; the divisor itself of integers, whose quotients lose their fraction.
template <class T>
std::vector<T> scales_of(const Average& a) {
  std::vector<T> scales;
  scales.reserve(a.rows.length.size() * a.cols.length.size());
  for (const int64_t down : a.rows.length) {
    for (const int64_t across : a.cols.length) {
      const int64_t by = a.divisor != 0 ? a.divisor : down * across;
      if constexpr (std::is_integral_v<T>) scales.push_back(by);
      else scales.push_back(static_cast<T>(1.0 / static_cast<double>(by)));
    }
  }
  return scales;
}

inline int64_t quotient(int64_t sum, int64_t by) {
  return by == -1 ? static_cast<int64_t>(0 - static_cast<uint64_t>(sum)) : sum / by;
}
template <class T>
TANDEM_ALWAYS_INLINE T plus(T a, T b) {
  if constexpr (std::is_integral_v<T>) return static_cast<T>(uint64_t(a) + uint64_t(b));
  else return a + b;
}
template <class T>
TANDEM_ALWAYS_INLINE void add_to(int64_t n, const T* __restrict from, T* __restrict to) {
  for (int64_t i = 0; i < n; ++i) to[i] = plus(to[i], from[i]);
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
          for (int64_t q = a.cols.begin[col]; q < a.cols.end[col]; ++q) sum = plus(sum, sums[q]);
          // An empty window gives 0, even where its divisor is 0.
          const bool empty =
              a.cols.begin[col] == a.cols.end[col] || a.rows.begin[row] == a.rows.end[row];
          if constexpr (std::is_integral_v<T>) out[j] = empty ? 0 : quotient(sum, scale[j]);
          else out[j] = empty ? T{0} : sum * scale[j];
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
  const MaxKernels<T> kernels = max_kernels<T>(s);
  const int64_t out = s.out_h * s.out_w;
  const int64_t window = std::min(s.kh, s.h) * std::min(s.kw, s.w);  // what lies in the plane
  parallel_for(s.planes, plane_grain(out * window), [&](int64_t begin, int64_t end) {
    const auto each = [&](const auto& run) {
      for (int64_t p = begin; p < end; ++p) {
        run(x + p * s.h * s.w, y + p * out, indices == nullptr ? nullptr : indices + p * out);
      }
    };
    if (kernels.parts == 0) {
      each([&](const T* plane, T* to, int64_t* index) { max_plane(s, plane, to, index); });
    } else {
      const MaxRows<T> rows(s, kernels, x + s.planes * s.h * s.w);
      each([&](const T* plane, T* to, int64_t* index) { rows.plane(plane, to, index); });
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
          if (indices[i] == -1) continue;
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
#define TANDEM_INTEGER_POOL(T)                                                                 \
  template TANDEM_API void max_pool2d<T>(const PoolShape&, const T*, T*, int64_t*);            \
  template TANDEM_API void avg_pool2d<T>(const PoolShape&, bool, int64_t, const T*, T*);       \
  template TANDEM_API void adaptive_avg_pool2d<T>(int64_t, int64_t, int64_t, int64_t, int64_t, \
                                                  const T*, T*);
TANDEM_INTEGER_POOL(int64_t)
#undef TANDEM_INTEGER_POOL

}  // namespace tandem::cpu
