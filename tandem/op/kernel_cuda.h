#pragma once
// The same point and row bodies as CUDA kernels. Compiled by nvcc only; a block is the team of a
// row body.
#include <cstdint>

#include "tandem/op/op.h"
#include "tandem/op/point_op.h"
#include "tandem/op/team.h"

namespace tandem::cuda {

/// The threads of one block. Reductions leave the result in every thread.
struct CudaTeam {
  template <class A, class F>
  __device__ A all(A value, F combine) const {
    __shared__ alignas(8) unsigned char raw[32 * sizeof(A)];
    A* part = reinterpret_cast<A*>(raw);
    const unsigned warps = (blockDim.x + 31) / 32;
    for (int o = 16; o > 0; o /= 2) value = combine(value, __shfl_xor_sync(0xffffffffu, value, o));
    __syncthreads();  // an earlier reduction may still be read
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
    __syncthreads();
    A total = part[0];
    for (unsigned w = 1; w < warps; ++w) total = combine(total, part[w]);
    return total;
  }
  // Every thread starts from the first element: right for max, whatever the number of threads.
  template <class F>
  __device__ auto max(int64_t n, F f) const {
    auto m = f(int64_t(0));
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
      const auto v = f(i);
      m = v > m ? v : m;
    }
    return all(m, [](auto a, auto b) { return a > b ? a : b; });
  }
  template <class F>
  __device__ auto sum(int64_t n, F f) const {
    decltype(f(int64_t(0))) s = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) s += f(i);
    return all(s, [](auto a, auto b) { return a + b; });
  }
  template <class F>
  __device__ void each(int64_t n, F f) const {
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) f(i);
  }
};

template <class O, class T>
using point_result = std::conditional_t<O::result == Result::boolean, bool, T>;

/// y[i] = op(in[0][i], ...), contiguous. Any grid.
template <class O, class T>
__global__ void point_kernel(O op, const T* a, const T* b, const T* c, const T* d,
                             point_result<O, T>* y, int64_t n) {
  using R = point_result<O, T>;
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    if constexpr (requires { op.point(a[i]); }) y[i] = R(op.point(a[i]));
    else if constexpr (requires { op.point(a[i], b[i]); }) y[i] = R(op.point(a[i], b[i]));
    else if constexpr (requires { op.point(a[i], b[i], c[i]); })
      y[i] = R(op.point(a[i], b[i], c[i]));
    else y[i] = R(op.point(a[i], b[i], c[i], d[i]));
  }
}

/// One block a row of `n` contiguous elements.
template <class O, class T>
__global__ void row_kernel(O op, const T* a, const T* b, T* y, int64_t n) {
  const int64_t at = int64_t(blockIdx.x) * n;
  if constexpr (requires { op.row(CudaTeam{}, a, y, n); }) op.row(CudaTeam{}, a + at, y + at, n);
  else op.row(CudaTeam{}, a + at, b + at, y + at, n);
}

}  // namespace tandem::cuda
