#include "tandem/graph/plan.h"

namespace tandem::graph {

std::string Plan::explain() const {
  std::string s = cat(steps_.size(), " steps, arena of ", arena_bytes_, " bytes for ", value_bytes_,
                      " bytes of values\n");
  auto column = [](std::string text, size_t width) {
    if (text.size() < width) text.append(width - text.size(), ' ');
    return text;
  };
  for (const Step& step : steps_) {
    const Node& n = *step.node;
    if (step.update >= 0) {
      const UpdateGroup& g = groups_[size_t(step.update)];
      s += cat("  ", column(cat(n.info->print(n.op.get())), 48), " ", g.members.size(),
               " parameters in one pass\n");
      continue;
    }
    std::string results;
    int64_t bytes = 0;
    for (ValueId id : n.outputs) {
      const Spec& spec = graph_->value(id).spec;
      results += cat(results.empty() ? "" : ", ", to_string(spec));
      bytes += spec.shape.numel() * itemsize(spec.dtype);
    }
    s += cat("  ", column(n.info->print(n.op.get()), 48), " ", column(results, 24), " ", bytes,
             " bytes", n.path.empty() ? "" : "  ", n.path,
             &step - steps_.data() < prepared_ ? "  (once, until its inputs are written to)" : "",
             "\n");
  }
  return s;
}

}  // namespace tandem::graph
