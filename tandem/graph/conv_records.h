#pragma once
#include <memory>

#include "tandem/backend/cpu/conv_blocked.h"
#include "tandem/op/op.h"

// Records that `block_convolutions` makes. A value in blocks is [n, c / b, h, w, b] for the
// [n, c, h, w] that it stands for. They are not in the op table: what they compute is what the
// records that they replace say, and so is their gradient.

namespace tandem::graph {

/// What a fused convolution is, and with that the order of its packed weight.
struct BlockedConvolution {
  Shape x = {1, 1, 1, 1}, weight = {1, 1, 1, 1};  ///< as conv2d has them
  Shape stride = {1, 1}, padding = {0, 0}, dilation = {1, 1};
  int64_t groups = 1, block = 16;
  std::string algorithm = "direct";  ///< or "winograd"
  bool bias = false, residual = false;
  std::string activation = "none";                 ///< relu, clamp, leaky_relu, silu, sigmoid
  double low = 0, high = 0;                        ///< of clamp; the slope of leaky_relu is `low`
  std::shared_ptr<const cpu::BlockedConv> kernel;  ///< made from the others; null: when needed

  /// x has fewer channels than a block and stays [n, c, h, w].
  bool x_plain() const { return x[1] % block != 0; }
  /// Errors: ValueError for attributes that no convolution has.
  cpu::BlockedConvSpec spec() const;
  Shape blocked_x() const;
  Shape blocked_y() const;

 protected:
  template <class O>
  static constexpr auto fields_of() {
    return Fields{field("x", &O::x),
                  field("weight", &O::weight),
                  field("stride", &O::stride),
                  field("padding", &O::padding),
                  field("dilation", &O::dilation),
                  field("groups", &O::groups),
                  field("block", &O::block),
                  field("algorithm", &O::algorithm),
                  field("bias", &O::bias),
                  field("residual", &O::residual),
                  field("activation", &O::activation),
                  field("low", &O::low),
                  field("high", &O::high)};
  }
};

/// activation(conv2d(x, w) + bias + residual) in blocks, w packed by `pack_conv2d` with the same
/// attributes.
struct FusedConv2d : BlockedConvolution {
  static constexpr std::string_view name = "fused_conv2d";
  static constexpr std::string_view inputs = "x, packed, bias?, residual?";
  static constexpr std::string_view not_differentiable =
      "made by a pass, after gradients were taken";
  static constexpr auto fields = fields_of<BlockedConvolution>();

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<FusedConv2d> samples();
};

/// The weight of a fused convolution in the order that its kernel reads.
struct PackConv2d : BlockedConvolution {
  static constexpr std::string_view name = "pack_conv2d";
  static constexpr std::string_view inputs = "weight";
  static constexpr std::string_view not_differentiable =
      "made by a pass, after gradients were taken";
  static constexpr auto fields = fields_of<BlockedConvolution>();

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<PackConv2d> samples();
};

/// x[n, c, h, w] in blocks.
struct ToBlocked {
  static constexpr std::string_view name = "to_blocked";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable =
      "made by a pass, after gradients were taken";

  int64_t block = 16;
  static constexpr auto fields = Fields{field("block", &ToBlocked::block)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<ToBlocked> samples();
};

/// x[n, c / b, h, w, b] as [n, c, h, w].
struct FromBlocked {
  static constexpr std::string_view name = "from_blocked";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable =
      "made by a pass, after gradients were taken";
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<FromBlocked> samples();
};

/// The largest value of each window of x in blocks; padding counts as minus infinity, NaN as
/// largest. `size` is that of the result.
struct BlockedMaxPool2d {
  static constexpr std::string_view name = "blocked_max_pool2d";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable =
      "made by a pass, after gradients were taken";

  Shape size = {1, 1}, kernel_size = {1, 1}, stride = {1, 1}, padding = {0, 0};
  static constexpr auto fields = Fields{
      field("size", &BlockedMaxPool2d::size), field("kernel_size", &BlockedMaxPool2d::kernel_size),
      field("stride", &BlockedMaxPool2d::stride), field("padding", &BlockedMaxPool2d::padding)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<BlockedMaxPool2d> samples();
};

/// The row of one of these records, or null.
TANDEM_API const OpInfo* find_conv_record(std::string_view name);

/// Which inputs of a record a plan makes once and keeps until what they are made from is written
/// to: packed weights.
IndexSet prepared_inputs(const OpInfo& info);
/// What a step does that makes prepared inputs, as text: that of packing a weight says nothing of
/// the batch, since one packed weight serves all sizes that agree in its order.
std::string packing_of(const OpInfo& info, const void* op);
/// The input of a record whose memory its result may take: the tensor that it adds; -1: none.
int residual_input(const OpInfo& info);

}  // namespace tandem::graph
