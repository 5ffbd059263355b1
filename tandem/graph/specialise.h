#pragma once
#include <span>
#include <utility>

#include "tandem/graph/ir.h"

namespace tandem::graph {

/// An axis of unknown length (its stand-in) and the length that it has now.
using AxisLength = std::pair<int64_t, int64_t>;

/// A number that was made from lengths is a sum of these: `factor` times the product of the axes
/// (their places among the stand-ins; none in the constant term).
struct LengthTerm {
  int64_t factor;
  std::vector<size_t> axes;
};
/// "f32[?, 3]": a spec with its unknown lengths.
std::string to_string(const Spec& spec, std::span<const int64_t> stand_ins);
/// `v` as such a sum; empty when it was not made from lengths.
std::vector<LengthTerm> length_terms(int64_t v, std::span<const int64_t> stand_ins);

/// `v` with every stand-in replaced: a polynomial in the stand-ins with small coefficients. Exact
/// for what shapes are made of.
int64_t substitute(int64_t v, std::span<const AxisLength> lengths);
/// The same for numbers made from lengths: n, 1 / n, 1 + 1 / n.
double substitute(double v, std::span<const AxisLength> lengths);

/// The graph for given lengths of its unknown axes: attributes and constants made from stand-ins
/// are made from the lengths instead, and every shape is inferred anew. Errors: what the records'
/// shape rules throw; NotImplemented for captured constants with an unknown axis.
TANDEM_API std::shared_ptr<Graph> specialise(const Graph& graph,
                                             std::span<const AxisLength> lengths);

/// Whether both graphs are the same nodes on the same captured tensors and equal constants.
bool same_structure(const Graph& a, const Graph& b);

}  // namespace tandem::graph
