#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// The same values as `dtype`: floats truncate towards zero, non-zero is true.
struct Cast {
  static constexpr std::string_view name = "cast";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Cast", 13};

  DType dtype = f32;
  static constexpr auto fields = Fields{field("dtype", &Cast::dtype)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Cast> samples();
};

/// A copy only when the dtype differs.
inline Tensor cast(const Tensor& x, DType dtype) {
  return x.dtype() == dtype ? x : apply(Cast{.dtype = dtype}, {x});
}

/// A row-major copy of the same values.
struct Clone {
  static constexpr std::string_view name = "clone";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Identity", 14};
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Clone> samples();
};

inline Tensor clone(const Tensor& x) { return apply(Clone{}, {x}); }
/// `x` itself when it is row-major, else a copy.
inline Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : clone(x); }

/// `src` as the dtype of `x` and broadcast to its shape: what an assignment writes.
struct CopyInto {
  static constexpr std::string_view name = "copy_into";
  static constexpr std::string_view inputs = "x, src";
  static constexpr bool broadcasts = true;
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<CopyInto> samples();
};

}  // namespace tandem
