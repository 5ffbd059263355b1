#pragma once
#include "tandem/core/factory.h"
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// `value` (0-d) where `mask` (boolean) holds, else x; x and mask are broadcast. dtype of x.
struct MaskedFill {
  static constexpr std::string_view name = "masked_fill";
  static constexpr std::string_view inputs = "x, mask, value";
  static constexpr Saves saves{.in = {1}, .out = {}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A mask, A value) const {
    return mask != A(0) ? value : x;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<MaskedFill> samples();
};

/// Errors: ValueError for a C++ number that does not fit the dtype of x.
inline Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value) {
  return apply(MaskedFill{}, {x, mask, detail::number_as("masked_fill()", value, x.dtype())});
}

}  // namespace tandem
