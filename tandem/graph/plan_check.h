#pragma once
// Builds with TANDEM_CHECK_PLANS (debug and sanitizer presets) hold every step of every plan
// against what a record promises: that it reads its operands by their shapes and strides.
#include "tandem/graph/ir.h"

#ifndef TANDEM_CHECK_PLANS
#define TANDEM_CHECK_PLANS 0
#endif

namespace tandem::graph {

inline constexpr bool checks_plans = TANDEM_CHECK_PLANS != 0;

/// Whether the plans of this build are verified.
bool plans_are_checked();

/// One step's kernel, held against itself: if an operand does not lie row by row, the kernel runs
/// once more on operands that do, and must give the same but for roundings.
class StepCheck {
 public:
  /// Before the kernel runs, which may write over an operand.
  StepCheck(const OpInfo& info, const void* op, Inputs in, Outputs out);
  /// After it. Error: names the step.
  void compare() const;

 private:
  const OpInfo& info_;
  const void* op_;
  Outputs out_;
  Tensors rows_;  ///< the operands, row by row; empty when all of them lie so
};

/// Of the view `part` that begins `offset` bytes behind the first element of `whole`: that all its
/// elements are such of `whole`. Error: names the value.
void check_inside(ValueId id, const Tensor& part, int64_t offset, const Tensor& whole);

/// Empty when the results are the same but for roundings; else where they differ. `scale`: the
/// largest magnitude among the operands.
std::string rounding_difference(const Tensor& got, const Tensor& want, double scale);

}  // namespace tandem::graph
