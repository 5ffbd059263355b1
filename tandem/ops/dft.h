#pragma once
#include "tandem/core/by_name.h"
#include "tandem/op/op.h"

namespace tandem {

/// The discrete Fourier transform along `axis` of complex numbers, whose real and imaginary parts
/// lie beside each other on the last axis, which is 2 long: y[k] = sum x[n] e^(-2 pi i n k / N),
/// and with `inverse` x[n] = 1 / N sum y[k] e^(2 pi i n k / N). With `onesided` only y[0] to y[N /
/// 2] are given. Sums are kept in f64. Errors: DTypeError unless x is floating, ShapeError.
struct Dft {
  static constexpr std::string_view name = "dft";
  static constexpr std::string_view inputs = "x";

  int64_t axis = -2;
  bool inverse = false, onesided = false;
  static constexpr auto fields = Fields{field("axis", &Dft::axis), field("inverse", &Dft::inverse),
                                        field("onesided", &Dft::onesided)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Dft> samples();
};

struct DftOptions {
  ByName by_name = ByName();
  int64_t axis = -2;
  bool inverse = false, onesided = false;
};
inline Tensor dft(const Tensor& x, const DftOptions& o = {}) {
  return apply(Dft{.axis = o.axis, .inverse = o.inverse, .onesided = o.onesided}, {x});
}

}  // namespace tandem
