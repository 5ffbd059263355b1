#pragma once
#include <algorithm>

#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x limited to [min_val, max_val]; NaN stays NaN. Errors: ValueError unless min_val <= max_val.
struct Hardtanh {
  static constexpr std::string_view name = "hardtanh";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::same;

  double min_val = -1;
  double max_val = 1;
  static constexpr auto fields =
      Fields{field("min_val", &Hardtanh::min_val), field("max_val", &Hardtanh::max_val)};

  template <class A>
  TANDEM_FN A point(A x) const {
    A low = A(min_val), high = A(max_val);
    if constexpr (std::is_unsigned_v<A>)
      low = A(std::max(min_val, 0.0)), high = A(std::max(max_val, 0.0));
    return x < low ? low : x > high ? high : x;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Hardtanh> samples();
};

/// The gradient of hardtanh: dy strictly between min_val and max_val, else 0.
struct HardtanhGrad {
  static constexpr std::string_view name = "hardtanh_grad";
  static constexpr std::string_view inputs = "dy, x";
  static constexpr Saves saves{.in = {1}, .out = {}};
  static constexpr Result result = Result::floating;

  double min_val = -1;
  double max_val = 1;
  static constexpr auto fields =
      Fields{field("min_val", &HardtanhGrad::min_val), field("max_val", &HardtanhGrad::max_val)};

  template <class A>
  TANDEM_FN A point(A dy, A x) const {
    return ((x <= A(min_val)) | (x >= A(max_val))) ? A(0) : dy;
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<HardtanhGrad> samples();
};

inline Tensor hardtanh(const Tensor& x, double min_val = -1, double max_val = 1) {
  return apply(Hardtanh{.min_val = min_val, .max_val = max_val}, {x});
}
inline Tensor hardtanh_grad(const Tensor& dy, const Tensor& x, double min_val, double max_val) {
  return apply(HardtanhGrad{.min_val = min_val, .max_val = max_val}, {dy, x});
}

}  // namespace tandem
