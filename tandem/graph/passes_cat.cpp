#include <algorithm>

#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/slice.h"

namespace tandem::graph {
namespace {

/// Where a part lies along the axis that is cut.
struct Part {
  ValueId source;
  int axis;
  int64_t begin, length;
};

/// The part that a scatter_region puts into zeros; an axis of -1 when it is no such part.
Part part_of(const ScatterRegion& op, ValueId source, const Shape& from) {
  Part part{source, -1, 0, 0};
  if (from.size() != op.shape.size()) return part;
  const Strides whole = contiguous_strides(op.shape);
  int axis = -1;
  for (int i = 0; i < from.size(); ++i) {
    if (from[i] > 1 && op.strides[i] != whole[i]) return part;
    if (from[i] == op.shape[i]) continue;
    if (axis >= 0) return part;
    axis = i;
  }
  if (axis < 0 || from.numel() == 0 || op.offset % whole[axis] != 0) return part;
  part.begin = op.offset / whole[axis];
  part.length = from[axis];
  if (part.begin + part.length <= op.shape[axis]) part.axis = axis;
  return part;
}

}  // namespace

void join_scattered(Graph& g) {
  std::vector<Node>& nodes = g.edit_nodes();
  const Uses uses(g);
  std::vector<bool> gone(nodes.size(), false);
  for (size_t k = nodes.size(); k-- > 0;) {
    if (gone[k] || !as<Add>(nodes[k])) continue;
    const Spec spec = g.value(nodes[k].outputs[0]).spec;
    if (spec.dtype != f32 && spec.dtype != f64) continue;
    std::vector<Part> parts;
    std::vector<size_t> taken, open{k};
    bool good = true;
    while (good && !open.empty()) {
      const size_t at = open.back();
      open.pop_back();
      for (ValueId id : nodes[at].inputs) {
        const int from = uses.made[size_t(id)];
        good = good && from >= 0 && uses.only_reader(id) >= 0 && g.value(id).spec == spec;
        if (!good) break;
        const Node& n = nodes[size_t(from)];
        if (as<Add>(n)) {
          open.push_back(size_t(from));
        } else if (const auto* scatter = as<ScatterRegion>(n)) {
          parts.push_back(part_of(*scatter, n.inputs[0], g.value(n.inputs[0]).spec.shape));
          good = parts.back().axis >= 0 && parts.back().axis == parts[0].axis;
        } else {
          good = false;
        }
        taken.push_back(size_t(from));
      }
    }
    if (!good) continue;
    std::sort(parts.begin(), parts.end(),
              [](const Part& a, const Part& b) { return a.begin < b.begin; });
    int64_t end = 0;
    for (const Part& p : parts) {
      good = good && p.begin == end;
      end = p.begin + p.length;
    }
    if (!good || end != spec.shape[parts[0].axis]) continue;
    Node& n = nodes[k];
    set_record(n, Cat{.axis = parts[0].axis});
    n.inputs.clear();
    for (const Part& p : parts) n.inputs.push_back(p.source);
    for (size_t i : taken) gone[i] = true;
  }
  drop_nodes(g, gone);
}

}  // namespace tandem::graph
