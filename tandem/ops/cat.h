#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// The tensors behind each other along `axis`; the other sizes agree (1-d tensors without elements
/// are left out, as in PyTorch). dtypes are promoted.
struct Cat {
  static constexpr std::string_view name = "cat";
  static constexpr std::string_view inputs = "tensors...";
  static constexpr OnnxRule onnx{"Concat", 13};

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &Cat::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Cat> samples();
};

/// Tensors of one shape along a new axis.
struct Stack {
  static constexpr std::string_view name = "stack";
  static constexpr std::string_view inputs = "tensors...";

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &Stack::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Stack> samples();
};

// Templates, so that they win over the text function `cat` for lists of tensors.
template <class L, std::integral I = int64_t>
requires std::convertible_to<const L&, Inputs> Tensor cat(const L& tensors, I axis = 0) {
  return tandem::apply(Cat{.axis = int64_t(axis)}, Inputs(tensors));
}
inline Tensor cat(std::initializer_list<Tensor> tensors, int64_t axis = 0) {
  return tandem::apply(Cat{.axis = axis}, Inputs(tensors.begin(), tensors.size()));
}
template <class L, std::integral I = int64_t>
requires std::convertible_to<const L&, Inputs> Tensor stack(const L& tensors, I axis = 0) {
  return tandem::apply(Stack{.axis = int64_t(axis)}, Inputs(tensors));
}
inline Tensor stack(std::initializer_list<Tensor> tensors, int64_t axis = 0) {
  return tandem::apply(Stack{.axis = axis}, Inputs(tensors.begin(), tensors.size()));
}

}  // namespace tandem
