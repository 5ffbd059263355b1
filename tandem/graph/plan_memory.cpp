#include <algorithm>

#include "tandem/core/poison.h"
#include "tandem/graph/conv_records.h"
#include "tandem/graph/fused_point.h"
#include "tandem/graph/fused_product.h"
#include "tandem/graph/plan.h"
#include "tandem/op/tape.h"
#include "tandem/ops/update.h"

namespace tandem::graph {
namespace {

constexpr int64_t align = 64;
/// Between places, where a sanitizer sees it.
constexpr int64_t gap = detail::poisons ? 64 : 0;

int64_t bytes_of(const Spec& spec) { return spec.shape.numel() * itemsize(spec.dtype); }

/// Such values have shapes and no memory, and nothing computes them.
bool is_null(const Spec& spec) { return spec.device.type == DeviceType::null; }

/// A tensor of that geometry whose memory is given later.
Tensor make_shell(const Spec& spec, const Strides& strides) {
  TensorImpl* impl = detail::new_impl();
  impl->spec = spec;
  impl->strides = strides;
  impl->numel = spec.shape.numel();
  if (!is_contiguous(spec.shape, strides)) impl->flags &= uint8_t(~TensorImpl::contiguous);
  return Tensor::adopt(impl);
}

}  // namespace

Plan::Mobile& Plan::mobile(ValueId root) {
  int& at = mobile_of_[size_t(root)];
  if (at < 0) {
    at = int(mobiles_.size());
    mobiles_.push_back({root, {}, nullptr});
  }
  return mobiles_[size_t(at)];
}

/// Every value's geometry; a step that is a view becomes geometry alone.
void Plan::make_shells() {
  for (size_t i = 0; i < shells_.size(); ++i) {
    const Value& v = graph_->values()[i];
    Shell& s = shells_[i];
    s.root = ValueId(i);
    if (v.kind == ValueKind::state || v.kind == ValueKind::constant) s.tensor = v.tensor;
    else
      s.tensor =
          make_shell(v.spec, v.strides.empty() ? contiguous_strides(v.spec.shape) : v.strides);
    if (v.kind == ValueKind::input || v.kind == ValueKind::state || v.kind == ValueKind::constant)
      mobile(ValueId(i));
  }
  std::vector<Step> kept;
  for (const Step& step : steps_) {
    const Node& n = *step.node;
    if (step.update < 0 && !n.outputs.empty() && is_null(graph_->value(n.outputs[0]).spec))
      continue;
    View view;
    if (step.update < 0 && n.info->view &&
        n.info->view(n.op.get(), shells_[size_t(n.inputs[0])].tensor, view)) {
      const Shell& from = shells_[size_t(n.inputs[0])];
      Shell& s = shells_[size_t(n.outputs[0])];
      const Spec& spec = graph_->value(n.outputs[0]).spec;
      s.tensor = make_shell({view.shape, spec.dtype, spec.device}, view.strides);
      s.root = from.root;
      s.offset = from.offset + view.offset * itemsize(spec.dtype);
      continue;
    }
    kept.push_back(step);
  }
  steps_ = std::move(kept);
  put_prepared_first();
  fold_updates();

  auto use = [&](ValueId id, int at) {
    if (id < 0) return;
    Shell& root = shells_[size_t(shells_[size_t(id)].root)];
    root.last = std::max(root.last, at);
  };
  const int end = int(steps_.size());
  for (int k = 0; k < end; ++k) {
    const Step& step = steps_[size_t(k)];
    if (step.update >= 0) {
      for (const auto& m : groups_[size_t(step.update)].members) use(m.gradient, k);
      continue;
    }
    for (ValueId id : step.node->outputs) {
      shells_[size_t(id)].first = k;
      use(id, k);
    }
    for (ValueId id : step.node->inputs) use(id, k);
  }
  is_kept_.assign(shells_.size(), false);
  for (int k = 0; k < prepared_; ++k)
    for (ValueId id : steps_[size_t(k)].node->outputs)
      if (shells_[size_t(id)].last >= prepared_) {
        is_kept_[size_t(id)] = true;
        shells_[size_t(id)].first = 0;
        shells_[size_t(id)].last = end;
      }
  for (size_t i = 0; i < graph_->assignments().size(); ++i)
    if (!written_directly_[i]) use(graph_->assignments()[i].value, end);

  if (watches_)
    for (const GradientOf& g : graph_->gradients_of()) {
      if (g.when < 0) continue;
      use(g.value, end);
      use(g.when, end);
    }

  // Results and gradients are written where they will stay, unless they are looks at something.
  for (ValueId id : graph_->outputs()) {
    use(id, end);
    if (shells_[size_t(id)].root == id && graph_->value(id).kind == ValueKind::result) mobile(id);
  }
  for (const GradientWrite& g : graph_->gradients()) {
    if (g.value >= 0) {
      use(g.value, end);
      const bool own = shells_[size_t(g.value)].root == g.value &&
                       graph_->value(g.value).kind == ValueKind::result &&
                       mobile_of_[size_t(g.value)] < 0;
      if (own) mobile(g.value);
    }
  }
  for (size_t i = 0; i < shells_.size(); ++i) {
    Shell& s = shells_[i];
    const int at = mobile_of_[size_t(s.root)];
    const ValueKind kind = graph_->values()[i].kind;
    if (at < 0 ||
        (s.root == ValueId(i) && (kind == ValueKind::state || kind == ValueKind::constant)))
      continue;
    mobiles_[size_t(at)].shells.emplace_back(s.tensor.impl(), s.offset);
  }
}

/// An update whose gradient comes from a product runs on the product's rows, unless something reads
/// the parameter or the optimizer's state later: the old values must be there for it.
void Plan::fold_updates() {
  const auto& values = graph_->values();
  std::vector<int> last_read(values.size(), -1);  // of the memory of a root
  auto read = [&](ValueId id, int k) {
    if (id >= 0) last_read[size_t(shells_[size_t(id)].root)] = k;
  };
  std::vector<int> maker(values.size(), -1);
  const int end = int(steps_.size());
  for (int k = 0; k < end; ++k) {
    const Step& step = steps_[size_t(k)];
    if (step.update >= 0) continue;
    for (ValueId id : step.node->inputs) read(id, k);
    if (gives_rows(*step.node->info)) maker[size_t(step.node->outputs[0])] = k;
  }
  for (size_t i = 0; i < graph_->assignments().size(); ++i)
    if (!written_directly_[i]) read(graph_->assignments()[i].value, end);
  for (ValueId id : graph_->outputs()) read(id, end);
  for (const GradientWrite& w : graph_->gradients()) read(w.value, end);
  auto free_after = [&](const Tensor& t, int k) {
    for (size_t i = 0; i < values.size(); ++i)
      if (last_read[i] >= k && values[i].tensor.defined() &&
          values[i].tensor.impl()->storage == t.impl()->storage)
        return false;
    return true;
  };
  for (size_t g = 0; g < groups_.size(); ++g) {
    auto& members = groups_[g].members;
    std::erase_if(members, [&](const UpdateGroup::Member& m) {
      const int k = maker[size_t(m.gradient)];
      if (k < 0 || steps_[size_t(k)].folded >= 0 || m.parameter.dim() < 2) return false;
      bool free = free_after(m.parameter, k);
      for (int i = 0; i < groups_[g].states; ++i) free = free && free_after(m.states[i], k);
      if (!free) return false;
      steps_[size_t(k)].folded = int(folded_.size());
      folded_.push_back({int(g), m});
      return true;
    });
  }
  std::erase_if(steps_, [&](const Step& s) {
    return s.update >= 0 && groups_[size_t(s.update)].members.empty();
  });
}

/// An elementwise result takes the place of an operand that dies with it.
void Plan::share_in_place() {
  for (size_t k = size_t(prepared_); k < steps_.size(); ++k) {
    Step& step = steps_[k];
    const Node& n = *step.node;
    if (step.update >= 0) continue;
    const bool program = is_fused_point(*n.info);
    const int residual = residual_input(*n.info);
    if (!program && residual < 0 && (!n.info->point || n.outputs.size() != 1)) continue;
    auto in_arena = [&](ValueId id) {
      const Shell& s = shells_[size_t(id)];
      return id >= 0 && s.root == id && mobile_of_[size_t(id)] < 0 &&
             graph_->value(id).kind == ValueKind::result && s.tensor.is_contiguous();
    };
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      const ValueId x = n.inputs[i];
      if (residual >= 0 && int(i) != residual) continue;
      if (x < 0 || !in_arena(x) || shells_[size_t(x)].last != int(k)) continue;
      // Nothing else may look at that memory meanwhile.
      const bool alone = std::none_of(n.inputs.begin(), n.inputs.end(), [&](const ValueId& other) {
        return other >= 0 && &other != &n.inputs[i] && shells_[size_t(other)].root == x;
      });
      const int at = program ? place_over(fused_point_of(n.op.get()), int(i)) : 0;
      if (!alone || at < 0) continue;
      const ValueId y = n.outputs[size_t(at)];
      if (!in_arena(y) || !(graph_->value(x).spec == graph_->value(y).spec)) continue;
      ValueId root = x;
      while (shells_[size_t(root)].over >= 0) root = shells_[size_t(root)].over;
      shells_[size_t(y)].over = x;
      shells_[size_t(root)].last = std::max(shells_[size_t(root)].last, shells_[size_t(y)].last);
      step.over = int(i);
      break;
    }
  }
}

/// Places in the arena, largest value first, each at the lowest offset that is free while it lives
/// (greedy by size, Pisarchyk and Lee, arXiv 2001.03288). What the prepared steps leave lies
/// elsewhere, since it outlives a run.
void Plan::place() {
  struct Block {
    ValueId id;
    int64_t bytes, at;
    int first, last;
  };
  std::vector<Block> blocks;
  std::vector<int64_t> at_of(shells_.size(), -1);
  for (size_t i = 0; i < shells_.size(); ++i) {
    const Shell& s = shells_[i];
    const ValueKind kind = graph_->values()[i].kind;
    if (s.root != ValueId(i) || mobile_of_[i] >= 0) continue;
    if (kind == ValueKind::result && s.last < 0) continue;  // a member of an update group
    if (is_null(s.tensor.spec())) continue;
    const int64_t bytes = (bytes_of(s.tensor.spec()) + align - 1) / align * align;
    const int last = kind == ValueKind::key ? int(steps_.size()) : s.last;
    value_bytes_ += bytes;
    if (s.over >= 0) continue;
    if (is_kept_[i]) {
      at_of[i] = kept_bytes_;
      kept_bytes_ += bytes + gap;
      continue;
    }
    blocks.push_back({ValueId(i), bytes + gap, 0, kind == ValueKind::key ? 0 : s.first, last});
  }
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const Block& a, const Block& b) { return a.bytes > b.bytes; });
  std::vector<const Block*> placed;  // in order of their offsets
  for (Block& b : blocks) {
    int64_t at = 0;
    for (const Block* p : placed) {
      if (p->last < b.first || b.last < p->first) continue;
      if (p->at >= at + b.bytes) break;
      at = std::max(at, p->at + p->bytes);
    }
    b.at = at_of[size_t(b.id)] = at;
    arena_bytes_ = std::max(arena_bytes_, at + b.bytes);
    const auto pos = std::upper_bound(placed.begin(), placed.end(), at,
                                      [](int64_t v, const Block* p) { return v < p->at; });
    placed.insert(pos, &b);
    if (detail::poisons)
      places_.push_back({at, bytes_of(shells_[size_t(b.id)].tensor.spec()), b.first, b.last});
  }
  for (size_t i = 0; i < shells_.size(); ++i) {
    const ValueId root = shells_[i].root;
    if (mobile_of_[size_t(root)] >= 0) continue;
    ValueId from = root;
    while (shells_[size_t(from)].over >= 0) from = shells_[size_t(from)].over;
    if (at_of[size_t(from)] < 0) continue;
    Mobile& where = is_kept_[size_t(from)] ? kept_ : lent_;
    where.shells.emplace_back(shells_[i].tensor.impl(),
                              at_of[size_t(from)] + (ValueId(i) == root ? 0 : shells_[i].offset));
  }
}

}  // namespace tandem::graph
