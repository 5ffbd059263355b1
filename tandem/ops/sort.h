#pragma once
#include "tandem/op/op.h"
#include "tandem/ops/minmax.h"

namespace tandem {

/// Elements in order along `axis` and where they were: values, indices (i64). NaN counts as
/// largest. Equal elements keep their order, whatever `stable` says.
struct Sort {
  static constexpr std::string_view name = "sort";
  static constexpr std::string_view inputs = "x";
  static constexpr int outputs = 2;
  static constexpr Saves saves{.in = {}, .out = {1}};

  int64_t axis = -1;
  bool descending = false, stable = false;
  static constexpr auto fields =
      Fields{field("axis", &Sort::axis), field("descending", &Sort::descending),
             field("stable", &Sort::stable)};

  std::array<Spec, 2> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<Sort> samples();
};

/// The k largest (or smallest) elements along `axis`, in order: values, indices (i64). Of equal
/// elements the first ones are taken.
struct Topk {
  static constexpr std::string_view name = "topk";
  static constexpr std::string_view inputs = "x";
  static constexpr int outputs = 2;
  static constexpr Saves saves{.in = {}, .out = {1}};

  Length k = 1;
  int64_t axis = -1;
  bool largest = true, sorted = true;
  static constexpr auto fields =
      Fields{field("k", &Topk::k), field("axis", &Topk::axis), field("largest", &Topk::largest),
             field("sorted", &Topk::sorted)};

  std::array<Spec, 2> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<Topk> samples();
};

inline ValuesAndIndices sort(const Tensor& x, int64_t axis = -1, bool descending = false,
                             bool stable = false) {
  Tensors y = apply_all(Sort{.axis = axis, .descending = descending, .stable = stable}, {x});
  return {y[0], y[1]};
}
inline Tensor argsort(const Tensor& x, int64_t axis = -1, bool descending = false,
                      bool stable = false) {
  return sort(x, axis, descending, stable).indices;
}
inline ValuesAndIndices topk(const Tensor& x, Length k, int64_t axis = -1, bool largest = true,
                             bool sorted = true) {
  Tensors y = apply_all(Topk{.k = k, .axis = axis, .largest = largest, .sorted = sorted}, {x});
  return {y[0], y[1]};
}

}  // namespace tandem
