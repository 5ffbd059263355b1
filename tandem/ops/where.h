#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x where `condition` is true, else y; broadcast, x and y promoted. Errors: DTypeError unless
/// `condition` is boolean.
struct Where {
  static constexpr std::string_view name = "where";
  static constexpr std::string_view inputs = "condition, x, y";
  static constexpr OnnxRule onnx{"Where", 16};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A condition, A x, A y) const {
    return condition != A(0) ? x : y;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Where> samples();
};

/// Errors: ValueError for a whole C++ number that the other operand's type does not hold.
TANDEM_API Tensor where(const Tensor& condition, const Tensor& x, const Tensor& y);

}  // namespace tandem
