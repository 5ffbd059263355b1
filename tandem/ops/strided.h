#pragma once
#include "tandem/op/op.h"

namespace tandem {

// The records that the tape itself needs: in-place writes to a view become a scatter into the
// tensor it looks at. Geometry counts elements of a row-major base.

namespace detail {
/// Whether several elements of such a region are one element of memory. False while lengths that
/// are not known leave it open.
TANDEM_API bool overlaps_itself(const Shape& shape, const Strides& strides);
}  // namespace detail

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

/// The gradient of AsStrided: a row-major tensor of `shape` in which every element is the sum of
/// those of `dy` that were read from it.
struct StridedSum {
  static constexpr std::string_view name = "strided_sum";
  static constexpr std::string_view inputs = "dy";

  Shape shape, strides;
  Length offset = 0;
  static constexpr auto fields =
      Fields{field("shape", &StridedSum::shape), field("strides", &StridedSum::strides),
             field("offset", &StridedSum::offset)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& g) const;
  static Samples<StridedSum> samples();
};

/// A copy of `x` whose region (see AsStrided) holds `src`. ValueError for a region that overlaps
/// itself.
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
