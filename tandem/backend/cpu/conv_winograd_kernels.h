// The transforms of Winograd's convolution F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308) for one
// vector of channels, `width` of them. Pixels lie channels-last, `width` floats each; the 36
// coefficients of a tile lie `pitch` floats apart, those of two tiles `ld`.
#pragma once

#include <cstdint>

namespace tandem::cpu {

struct WinogradKernels {
  int64_t width;  // channels of a vector

  /// Six rows of 4 `tiles` + 2 pixels, `row` floats apart, as coefficients B^T d B.
  void (*source)(int64_t tiles, const float* pixels, int64_t row, float* to, int64_t ld,
                 int64_t pitch);

  /// Four rows of 4 `tiles` pixels as coefficients A y A^T: the transpose of `result`.
  void (*gradient)(int64_t tiles, const float* pixels, int64_t row, float* to, int64_t ld,
                   int64_t pitch);

  /// A^T m A + bias of `tiles` tiles side by side, of which `rows` rows and `cols` columns are
  /// wanted: pixels[rows, cols]. bias may be null.
  void (*result)(int64_t tiles, const float* from, int64_t ld, int64_t pitch, const float* bias,
                 float* pixels, int64_t rows, int64_t cols);

  /// `count` channels of the 3x3 filters g[9, ld] as coefficients G g G^T; the filters turned by
  /// 180 degrees if `turned`.
  void (*filter)(int64_t count, const float* g, int64_t ld, bool turned, float* to, int64_t pitch);

  /// G^T u G, g[9, ld]: the transpose of `filter`.
  void (*filter_gradient)(const float* from, int64_t pitch, int64_t ld, float* g);

  /// Rows of at most `width` planes as pixels, zero for the channels beyond.
  void (*from_planes)(int64_t rows, int64_t cols, int64_t channels, const float* planes,
                      int64_t plane, float* pixels, int64_t row);

  /// `count` pixels as planes: planes[c * plane + i] = pixels[i * width + c].
  void (*to_planes)(int64_t count, int64_t channels, const float* pixels, float* planes,
                    int64_t plane);
};

/// The table for isa().
const WinogradKernels& winograd_kernels();

}  // namespace tandem::cpu
