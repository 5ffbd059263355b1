#pragma once
#include "tandem/op/op.h"

namespace tandem {

// The two records that the tape itself needs: in-place writes to a view become a scatter into the
// tensor it looks at. Geometry counts elements of a row-major base.

/// A region of a row-major tensor, copied: y[i] = base[offset + sum_k i_k * strides_k].
struct AsStrided {
  static constexpr std::string_view name = "as_strided";
  static constexpr std::string_view inputs = "x";

  Shape shape, strides;
  Length offset = 0;
  static constexpr auto fields =
      Fields{field("shape", &AsStrided::shape), field("strides", &AsStrided::strides),
             field("offset", &AsStrided::offset)};

  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<AsStrided> samples();
};

/// A copy of `x` whose region (see AsStrided, without overlap) holds `src`.
struct StridedScatter {
  static constexpr std::string_view name = "strided_scatter";
  static constexpr std::string_view inputs = "x, src";

  Shape strides;
  Length offset = 0;
  static constexpr auto fields =
      Fields{field("strides", &StridedScatter::strides), field("offset", &StridedScatter::offset)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<StridedScatter> samples();
};

}  // namespace tandem
