#include "tandem/backend/cpu/conv_kernels.h"

#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/vec.h"

namespace tandem::cpu {
namespace {

namespace baseline {
using S = VecBase<float>;
constexpr int max_channels = 4, max_dy_rows = 3, max_taps = 3;
#include "tandem/backend/cpu/conv_kernels.inl"
}  // namespace baseline

#if TANDEM_X86
TANDEM_BEGIN_TARGET(TANDEM_AVX2_FEATURES)
namespace avx2 {
using S = VecAvx2<float>;
constexpr int max_channels = 6, max_dy_rows = 3, max_taps = 3;
#include "tandem/backend/cpu/conv_kernels.inl"
}  // namespace avx2
TANDEM_END_TARGET

TANDEM_BEGIN_TARGET(TANDEM_AVX512_FEATURES)
namespace avx512 {
using S = VecAvx512<float>;
constexpr int max_channels = 12, max_dy_rows = 4, max_taps = 6;
#include "tandem/backend/cpu/conv_kernels.inl"
}  // namespace avx512
TANDEM_END_TARGET
#endif

}  // namespace

const ConvKernels& conv_kernels() {
#if TANDEM_X86
  if (isa() == Isa::avx512) return avx512::table;
  if (isa() == Isa::avx2) return avx2::table;
#endif
  return baseline::table;
}

}  // namespace tandem::cpu
