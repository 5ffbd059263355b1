#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// 1 at the class that `x` (i64) names and 0 elsewhere: shape of x with a last axis of
/// `num_classes`, i64.
struct OneHot {
  static constexpr std::string_view name = "one_hot";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable = "classes have no gradient";

  Length num_classes = 1;
  static constexpr auto fields = Fields{field("num_classes", &OneHot::num_classes)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<OneHot> samples();
};

/// With num_classes = -1 one more than the largest class of a tensor that holds data.
TANDEM_API Tensor one_hot(const Tensor& x, Length num_classes = -1);

}  // namespace tandem
