#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x / y, broadcast and promoted. rounding_mode "none": true division, integers give f32; "floor"
/// rounds down and "trunc" towards zero, with gradients of zero, and keep integers integers.
/// Errors: ValueError for another mode or an integer division by zero, DTypeError for rounded
/// division of booleans.
struct Div {
  static constexpr std::string_view name = "div";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Div", 14};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr bool broadcasts = true;

  std::string rounding_mode = "none";
  static constexpr auto fields = Fields{field("rounding_mode", &Div::rounding_mode)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Div> samples();
};

inline Tensor div(const Tensor& x, const Tensor& y) { return apply(Div{}, {x, y}); }
inline Tensor div(const Tensor& x, const Tensor& y, std::string_view rounding_mode) {
  return apply(Div{.rounding_mode = std::string(rounding_mode)}, {x, y});
}
inline Tensor operator/(const Tensor& x, const Tensor& y) { return apply(Div{}, {x, y}); }

/// x - y * floor(x / y): has the sign of y, as Python's %. Errors: ValueError for an integer
/// remainder by zero, DTypeError for booleans.
struct Remainder {
  static constexpr std::string_view name = "remainder";
  static constexpr std::string_view inputs = "x, y";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_unsigned_v<A>) {
      return y == 0 ? 0 : x % y;
    } else if constexpr (std::is_integral_v<A>) {
      if (y == 0 || y == -1) return 0;  // by zero is refused before; by -1 the processor may trap
      const A r = x % y;
      return r != 0 && (r < 0) != (y < 0) ? r + y : r;
    } else {
      const A r = math::fmod(x, y);
      return r != A(0) && (r < A(0)) != (y < A(0)) ? r + y : r;
    }
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Remainder> samples();
};

inline Tensor remainder(const Tensor& x, const Tensor& y) { return apply(Remainder{}, {x, y}); }

}  // namespace tandem
