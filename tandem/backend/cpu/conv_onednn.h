// Convolutions by oneDNN: primitives, their memory objects and the reorders around them, kept per
// shape and thread.
#pragma once

#include <memory>

#include "tandem/backend/cpu/conv.h"

namespace tandem::cpu {

enum class ConvPass { forward, backward_data, backward_weights };

enum class ConvLayout {
  plain,          // NCHW as it is
  channels_last,  // NHWC inside, reordered from and to NCHW
  blocked,        // what oneDNN likes best
  winograd,       // F(4x4, 3x3), Lavin and Gray, arXiv 1509.09308
};

/// The three operands of a pass and the bias (forward) or its gradient (backward_weights):
/// forward x, w -> y; backward_data dy, w -> dx; backward_weights x, dy -> dw.
struct ConvOperands {
  const float* a;
  const float* b;
  float* out;
  const float* bias = nullptr;
  float* bias_grad = nullptr;
};

/// One convolution pass ready to run on the thread that made it.
class OneDnnConv {
 public:
  /// Null when oneDNN has nothing but reference loops for it.
  static std::unique_ptr<OneDnnConv> make(ConvPass pass, ConvLayout layout, const ConvShape& shape,
                                          bool bias);
  ~OneDnnConv();

  void run(const ConvOperands& operands);

  struct Impl;
  explicit OneDnnConv(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem::cpu
