#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x + y, broadcast and promoted. For booleans: x or y.
struct Add {
  static constexpr std::string_view name = "add";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Add", 14};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    return math::add(x, y);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Add> samples();
};

/// x - y, broadcast and promoted. Errors: DTypeError for two booleans.
struct Sub {
  static constexpr std::string_view name = "sub";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Sub", 14};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    return math::sub(x, y);
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Sub> samples();
};

inline Tensor add(const Tensor& x, const Tensor& y) { return apply(Add{}, {x, y}); }
inline Tensor sub(const Tensor& x, const Tensor& y) { return apply(Sub{}, {x, y}); }
inline Tensor operator+(const Tensor& x, const Tensor& y) { return apply(Add{}, {x, y}); }
inline Tensor operator-(const Tensor& x, const Tensor& y) { return apply(Sub{}, {x, y}); }

}  // namespace tandem
