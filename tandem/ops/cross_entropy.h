#pragma once
#include "tandem/core/by_name.h"
#include "tandem/op/op.h"

namespace tandem {

/// log_softmax and nll_loss in one pass; floating targets are class probabilities.
struct CrossEntropy {
  static constexpr std::string_view name = "cross_entropy";
  static constexpr std::string_view inputs = "x, target, weight?";
  static constexpr OnnxRule onnx{"SoftmaxCrossEntropyLoss", 13};
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};

  int64_t ignore_index = -100;
  std::string reduction = "mean";
  double label_smoothing = 0;
  static constexpr auto fields = Fields{field("ignore_index", &CrossEntropy::ignore_index),
                                        field("reduction", &CrossEntropy::reduction),
                                        field("label_smoothing", &CrossEntropy::label_smoothing)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<CrossEntropy> samples();
};

/// The gradient of cross_entropy by x: softmax(x) less the smoothed target, weighted.
struct CrossEntropyGrad {
  static constexpr std::string_view name = "cross_entropy_grad";
  static constexpr std::string_view inputs = "x, target, dy, weight?";
  static constexpr Saves saves{.in = {0, 1, 2, 3}, .out = {}};

  int64_t ignore_index = -100;
  std::string reduction = "mean";
  double label_smoothing = 0;
  static constexpr auto fields =
      Fields{field("ignore_index", &CrossEntropyGrad::ignore_index),
             field("reduction", &CrossEntropyGrad::reduction),
             field("label_smoothing", &CrossEntropyGrad::label_smoothing)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<CrossEntropyGrad> samples();
};

struct CrossEntropyLossOptions {
  ByName by_name = ByName();
  Tensor weight = {};  ///< one a class
  int64_t ignore_index = -100;
  double label_smoothing = 0;
  std::string reduction = "mean";  ///< or "sum", "none"
};
/// nll_loss(log_softmax(x), target) with labels smoothed to (1 - s) target + s / classes (Szegedy
/// et al., arXiv 1512.00567). x[n, classes, ...] or [classes]; target: class numbers [n, ...] or
/// [], or probabilities of x's shape, whose "mean" divides by the number of rows. Errors: as
/// nll_loss.
inline Tensor cross_entropy(const Tensor& x, const Tensor& target,
                            const CrossEntropyLossOptions& o = {}) {
  return apply(CrossEntropy{.ignore_index = o.ignore_index,
                            .reduction = o.reduction,
                            .label_smoothing = o.label_smoothing},
               {x, target, o.weight});
}

}  // namespace tandem
