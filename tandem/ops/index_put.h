#pragma once
#include "tandem/op/op.h"

namespace tandem {

// NumPy's indexing by integer tensors. The index tensors (i64 or i32, negative counts from the end)
// are broadcast together to a shape B and name places along `axes` (none given: the first ones).
// B takes the place of those axes when they are neighbours, else it comes first.

/// The elements of `x` at those places.
struct IndexRead {
  static constexpr std::string_view name = "index";
  static constexpr std::string_view inputs = "x, indices...";
  static constexpr Saves saves{.in = {1, 2, 3, 4, 5, 6, 7, 8}, .out = {}};

  Shape axes = {};
  static constexpr auto fields = Fields{field("axes", &IndexRead::axes)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<IndexRead> samples();
};

/// A copy of `x` with `values`, broadcast to the shape that IndexRead gives, written or added at
/// those places. Where a place appears twice the last value stays, or all are added.
struct IndexPut {
  static constexpr std::string_view name = "index_put";
  static constexpr std::string_view inputs = "x, values, indices...";
  static constexpr Saves saves{.in = {2, 3, 4, 5, 6, 7, 8, 9}, .out = {}};

  Shape axes = {};
  bool accumulate = false;
  static constexpr auto fields =
      Fields{field("axes", &IndexPut::axes), field("accumulate", &IndexPut::accumulate)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<IndexPut> samples();
};

/// `indices` stand for the first axes; an undefined one takes its axis whole, and boolean masks
/// stand for as many axes as they have.
TANDEM_API Tensor index(const Tensor& x, Inputs indices);
inline Tensor index(const Tensor& x, std::initializer_list<Tensor> indices) {
  return index(x, Inputs(indices.begin(), indices.size()));
}
TANDEM_API Tensor index_put(const Tensor& x, Inputs indices, const Tensor& values,
                            bool accumulate = false);
inline Tensor index_put(const Tensor& x, std::initializer_list<Tensor> indices,
                        const Tensor& values, bool accumulate = false) {
  return index_put(x, Inputs(indices.begin(), indices.size()), values, accumulate);
}
/// In place; gives `x`. Errors: as every in-place write.
TANDEM_API Tensor index_put_(const Tensor& x, Inputs indices, const Tensor& values,
                             bool accumulate = false);

/// Places of elements that are not zero, in row-major order: i64[count, x.dim()]. Reads the data.
TANDEM_API Tensor nonzero(const Tensor& x);
/// The same, one i64[count] an axis.
TANDEM_API Tensors nonzero_as_tuple(const Tensor& x);
/// The elements where `mask` holds, both broadcast, as one axis. Reads the mask.
TANDEM_API Tensor masked_select(const Tensor& x, const Tensor& mask);

}  // namespace tandem
