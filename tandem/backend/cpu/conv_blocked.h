// Convolutions on tensors whose channels lie in blocks of one vector, y[n, oc / b, h, w, b], with
// filters packed beforehand and everything that follows the sum done while it is in registers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tandem/backend/cpu/conv.h"

namespace tandem::cpu {

/// Channels of a block for this processor; 0 where there are no such kernels.
TANDEM_API int64_t channel_block() noexcept;

enum class ConvActivation : uint8_t { none, relu, clamp, leaky_relu, silu, sigmoid };

struct BlockedConvSpec {
  ConvShape shape;
  bool x_plain = false;   ///< x is [n, c, h, w], c less than a block
  bool winograd = false;  ///< F(4x4, 3x3) or F(2x2, 3x3), whichever oneDNN takes
  bool bias = false;
  bool residual = false;  ///< a tensor like y is added before the activation
  ConvActivation activation = ConvActivation::none;
  float low = 0, high = 0;  ///< bounds of clamp; the slope of leaky_relu is `low`

  bool operator==(const BlockedConvSpec&) const = default;
};

/// One such convolution. Threads may share it.
class TANDEM_API BlockedConv {
 public:
  /// Null when there is nothing but reference loops for it.
  static std::shared_ptr<const BlockedConv> make(const BlockedConvSpec& spec);
  /// Direct sums or Winograd's, whatever `spec.winograd` says: by a rule over the shape, or under
  /// set_autotune(true) the ones that were faster when the process first asked. Direct while
  /// set_conv_winograd is off.
  static std::shared_ptr<const BlockedConv> best(BlockedConvSpec spec);
  ~BlockedConv();
  const BlockedConvSpec& spec() const noexcept;

  /// Floats that `pack` writes: w[oc, c / groups, kh, kw] in the order that `run` reads.
  int64_t packed_size() const noexcept;
  void pack(const float* w, float* packed) const;
  /// The order that `pack` gives, as bytes to compare.
  std::string packing() const;

  /// y = activation(conv(x, w) + bias + residual), NaN where an operand of the sum is. `residual`
  /// may be y itself.
  void run(const float* x, const float* packed, const float* bias, const float* residual,
           float* y) const;

  struct Impl;
  explicit BlockedConv(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

/// x[n, c, area] as y[n, c / b, area, b], and back.
TANDEM_API void to_blocked(int64_t n, int64_t c, int64_t area, const float* x, float* y);
TANDEM_API void from_blocked(int64_t n, int64_t c, int64_t area, const float* x, float* y);

}  // namespace tandem::cpu
