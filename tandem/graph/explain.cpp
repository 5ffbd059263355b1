#include <cstdio>

#include "tandem/graph/fused_point.h"
#include "tandem/graph/fused_row.h"
#include "tandem/graph/plan.h"

namespace tandem::graph {
namespace {

std::string column(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string microseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%10.2f us ", seconds * 1e6);
  return text;
}

std::string engine(const Node& n) {
  if (is_fused_row(*n.info)) return "  " + fused_row_engine(n.op.get());
  if (!is_fused_point(*n.info)) return "";
  const std::string_view name = fused_point_engine(n.op.get());
  return cat(name == "tiles" ? "  " : "  jit ", name);
}

}  // namespace

std::string Plan::explain() const {
  std::string s = cat(steps_.size(), " steps, arena of ", arena_bytes_, " bytes for ", value_bytes_,
                      " bytes of values\n");
  double total = 0;
  for (size_t k = 0; k < steps_.size(); ++k) {
    const Step& step = steps_[k];
    const Node& n = *step.node;
    if (timed_runs_) {
      const double mean = seconds_[k] / double(timed_runs_);
      s += microseconds(mean);
      total += mean;
    }
    if (step.update >= 0) {
      const UpdateGroup& g = groups_[size_t(step.update)];
      s += cat("  ", column(n.info->print(n.op.get()), 48), " ", g.members.size(),
               " parameters in one pass\n");
      continue;
    }
    std::string what = n.info->print(n.op.get());
    if (step.folded >= 0) {
      const Node& rule = *groups_[size_t(folded_[size_t(step.folded)].group)].first;
      what += cat(" + ", rule.info->print(rule.op.get()));
    }
    std::string results;
    int64_t bytes = 0;
    for (ValueId id : n.outputs) {
      const Spec& spec = graph_->value(id).spec;
      results += cat(results.empty() ? "" : ", ", spec);
      bytes += spec.shape.numel() * itemsize(spec.dtype);
    }
    s += cat("  ", column(std::move(what), 48), " ", column(std::move(results), 24), " ", bytes,
             " bytes", engine(n), step.over < 0 ? "" : " in place", n.path.empty() ? "" : "  ",
             n.path, int(k) < prepared_ ? "  (once, until its inputs are written to)" : "", "\n");
  }
  if (timed_runs_)
    s += cat(microseconds(total), "  all steps, the mean of ", timed_runs_, " timed runs\n");
  return s;
}

}  // namespace tandem::graph
