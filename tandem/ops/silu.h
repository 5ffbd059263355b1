#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x * sigmoid(x), also called swish. Elfwing et al. 2017, arXiv:1702.03118. Integers give f32.
struct Silu {
  static constexpr std::string_view name = "silu";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return x / (A(1) + math::exp(-x));
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Silu> samples();
};

/// The gradient of silu: dy * s * (1 + x * (1 - s)) with s = sigmoid(x).
struct SiluGrad {
  static constexpr std::string_view name = "silu_grad";
  static constexpr std::string_view inputs = "dy, x";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A dy, A x) const {
    const A s = math::sigmoid(x);
    return dy * (s * (A(1) + x * (A(1) - s)));
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<SiluGrad> samples();
};

inline Tensor silu(const Tensor& x) { return apply(Silu{}, {x}); }
inline Tensor silu_grad(const Tensor& dy, const Tensor& x) { return apply(SiluGrad{}, {dy, x}); }

}  // namespace tandem
