#include "tandem/backend/cpu/gemm_kernels.h"

#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/vec.h"

namespace tandem::cpu {
namespace baseline {
template <class T>
using Vec = VecBase<T>;
template <class T>
using NarrowVec = VecBase<T>;
template <class T>
using TurnVec = VecBase<T>;
template <class T>
constexpr int mr_of() {
  return 4;
}
#include "tandem/backend/cpu/gemm_kernels.inl"
}  // namespace baseline

#if TANDEM_X86
TANDEM_BEGIN_TARGET(TANDEM_AVX2_FEATURES)
namespace avx2 {
template <class T>
using Vec = VecAvx2<T>;
template <class T>
using NarrowVec = VecAvx2<T>;
template <class T>
using TurnVec = VecAvx2<T>;
template <class T>
constexpr int mr_of() {
  return 6;
}
#include "tandem/backend/cpu/gemm_kernels.inl"
}  // namespace avx2
TANDEM_END_TARGET

TANDEM_BEGIN_TARGET(TANDEM_AVX512_FEATURES)
namespace avx512 {
template <class T>
using Vec = VecAvx512<T>;
template <class T>
using NarrowVec = VecAvx512Half<T>;
template <class T>
using TurnVec = VecAvx2<T>;
template <class T>
constexpr int mr_of() {
  return 12;
}
#include "tandem/backend/cpu/gemm_kernels.inl"
}  // namespace avx512
TANDEM_END_TARGET
#endif

template <class T>
const GemmKernels<T>& gemm_kernels() {
  static constexpr GemmKernels<T> base = baseline::table<T>();
#if TANDEM_X86
  static constexpr GemmKernels<T> middle = avx2::table<T>();
  static constexpr GemmKernels<T> wide = avx512::table<T>();
  static const GemmKernels<T>& best =
      isa() == Isa::avx512 ? wide : (isa() == Isa::avx2 ? middle : base);
  return best;
#else
  return base;
#endif
}

template const GemmKernels<float>& gemm_kernels<float>();
template const GemmKernels<double>& gemm_kernels<double>();

}  // namespace tandem::cpu
