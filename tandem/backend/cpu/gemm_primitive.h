// Products that oneDNN's matmul primitive does better than its sgemm: bf16, and A B^T.
#pragma once

#include <cstdint>

namespace tandem::cpu {

struct MatmulShape {
  bool bf16, trans_a, trans_b, bias;
  int64_t m, n, k, lda, ldb, ldc;
  int threads = 0;  // filled in by matmul_primitive

  bool operator==(const MatmulShape&) const = default;
};

/// C = op(A) op(B) (+ bias row, f32) with a primitive kept per shape and thread; false when oneDNN
/// has no kernel for the shape.
bool matmul_primitive(MatmulShape shape, const void* a, const void* b, const float* bias, void* c);

}  // namespace tandem::cpu
