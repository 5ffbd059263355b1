#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// The matrices of the last two axes with zeros above their `diagonal`-th diagonal.
struct Tril {
  static constexpr std::string_view name = "tril";
  static constexpr std::string_view inputs = "x";

  Length diagonal = 0;
  static constexpr auto fields = Fields{field("diagonal", &Tril::diagonal)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Tril> samples();
};

/// The same with zeros below it.
struct Triu {
  static constexpr std::string_view name = "triu";
  static constexpr std::string_view inputs = "x";

  Length diagonal = 0;
  static constexpr auto fields = Fields{field("diagonal", &Triu::diagonal)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Triu> samples();
};

inline Tensor tril(const Tensor& x, Length diagonal = 0) {
  return apply(Tril{.diagonal = diagonal}, {x});
}
inline Tensor triu(const Tensor& x, Length diagonal = 0) {
  return apply(Triu{.diagonal = diagonal}, {x});
}

}  // namespace tandem
