#include "tandem/backend/cpu/gemm_int8.h"

#include <oneapi/dnnl/dnnl.h>
#include <algorithm>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {
namespace {

/// Whether the processor adds four products at once without an intermediate that saturates.
bool has_dot_products() {
#if TANDEM_X86
  static const bool found = isa() == Isa::avx512 && __builtin_cpu_supports("avx512vnni");
  return found;
#else
  return false;
#endif
}

/// By the library of 32-bit integers, where there are no instructions for less.
void widened_product(int64_t m, int64_t n, int64_t k, const int8_t* a, int64_t lda, int32_t a_zero,
                     const int8_t* b, int64_t ldb, int32_t b_zero, int32_t* c, int64_t ldc) {
  const Scratch wide(static_cast<size_t>((m + n) * k) * sizeof(int32_t) + 64);
  int32_t* wa = wide.as<int32_t>();
  int32_t* wb = wa + m * k;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p) wa[i * k + p] = a[i * lda + p] - a_zero;
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < n; ++j) wb[p * n + j] = b[p * ldb + j] - b_zero;
  gemm(false, false, m, n, k, int32_t{1}, wa, k, wb, n, int32_t{0}, c, ldc);
}

/// One row of columns: what one tap of the kernel sees in each place of rows [first, last) of y.
void fill_columns(const Int8Conv& s, const int8_t* plane, int64_t ky, int64_t kx, int64_t first,
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

/// A channel with its own filter: sums of shifted rows.
void depthwise(const Int8Conv& s, const int8_t* plane, int32_t x_zero, const int8_t* filter,
               int32_t w_zero, int32_t* y) {
  std::fill_n(y, s.oh * s.ow, 0);
  for (int64_t ky = 0; ky < s.kh; ++ky)
    for (int64_t kx = 0; kx < s.kw; ++kx) {
      const int32_t weight = filter[ky * s.kw + kx] - w_zero;
      if (weight == 0) continue;
      const int64_t dx = kx * s.dw - s.left;
      const int64_t begin = std::clamp<int64_t>(dx >= 0 ? 0 : (-dx + s.sw - 1) / s.sw, 0, s.ow);
      const int64_t end =
          std::clamp<int64_t>(s.w - 1 - dx < 0 ? 0 : (s.w - 1 - dx) / s.sw + 1, begin, s.ow);
      for (int64_t row = 0; row < s.oh; ++row) {
        const int64_t from_row = row * s.sh + ky * s.dh - s.top;
        if (from_row < 0 || from_row >= s.h) continue;
        const int8_t* from = plane + from_row * s.w + dx;
        int32_t* to = y + row * s.ow;
        if (s.sw == 1)
          for (int64_t x = begin; x < end; ++x) to[x] += weight * (from[x] - x_zero);
        else
          for (int64_t x = begin; x < end; ++x) to[x] += weight * (from[x * s.sw] - x_zero);
      }
    }
}

constexpr int64_t column_bytes = int64_t{1} << 21;  // columns that stay in the second-level cache

}  // namespace

void gemm_int8(int64_t m, int64_t n, int64_t k, const int8_t* a, int64_t lda, int32_t a_zero,
               const int8_t* b, int64_t ldb, int32_t b_zero, int32_t* c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * ldc, n, 0);
    return;
  }
  if (has_dot_products()) {
    const OmpScope threads;
    const int32_t nothing = 0;
    if (dnnl_gemm_s8s8s32('N', 'N', 'F', m, n, k, 1.0f, a, lda, static_cast<int8_t>(a_zero), b, ldb,
                          static_cast<int8_t>(b_zero), 0.0f, c, ldc, &nothing) == dnnl_success)
      return;
  }
  widened_product(m, n, k, a, lda, a_zero, b, ldb, b_zero, c, ldc);
}

void shift(const uint8_t* from, int8_t* to, int64_t n) {
  parallel_for(n, int64_t{1} << 18, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = shifted(from[i]);
  });
}

void conv_int8(const Int8Conv& s, const int8_t* x, int32_t x_zero, const int8_t* weight,
               int32_t w_zero, int32_t* y) {
  const int64_t in_group = s.c / s.groups, out_group = s.out / s.groups, places = s.oh * s.ow;
  const int64_t depth = in_group * s.kh * s.kw;
  if (places == 0 || s.out == 0) return;
  if (in_group == 1) {
    parallel_for(s.n * s.out, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / s.out, channel = i % s.out;
        depthwise(s, x + (image * s.c + channel / out_group) * s.h * s.w, x_zero,
                  weight + channel * depth, w_zero, y + i * places);
      }
    });
    return;
  }
  const bool plain = s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && s.top == 0 &&
                     s.left == 0 && s.oh == s.h && s.ow == s.w;
  const int64_t rows = std::clamp<int64_t>(column_bytes / (depth * s.ow), 1, s.oh);
  const Scratch columns(plain ? 64 : static_cast<size_t>(depth * rows * s.ow) + 64);
  for (int64_t image = 0; image < s.n; ++image)
    for (int64_t g = 0; g < s.groups; ++g) {
      const int8_t* planes = x + (image * s.c + g * in_group) * s.h * s.w;
      const int8_t* filters = weight + g * out_group * depth;
      int32_t* to = y + (image * s.out + g * out_group) * places;
      if (plain) {
        gemm_int8(out_group, places, depth, filters, depth, w_zero, planes, places, x_zero, to,
                  places);
        continue;
      }
      for (int64_t first = 0; first < s.oh; first += rows) {
        const int64_t last = std::min(s.oh, first + rows), width = (last - first) * s.ow;
        int8_t* all = columns.as<int8_t>();
        parallel_for(depth, std::max<int64_t>(1, 65536 / width), [&](int64_t begin, int64_t end) {
          for (int64_t d = begin; d < end; ++d)
            fill_columns(s, planes + d / (s.kh * s.kw) * s.h * s.w, d / s.kw % s.kh, d % s.kw,
                         first, last, static_cast<int8_t>(x_zero), all + d * width);
        });
        gemm_int8(out_group, width, depth, filters, depth, w_zero, all, width, x_zero,
                  to + first * s.ow, places);
      }
    }
}

}  // namespace tandem::cpu
