#include <algorithm>
#include <queue>
#include <unordered_map>

#include "tandem/graph/fused_point.h"
#include "tandem/graph/geometry.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"
#include "tandem/ops/reshape.h"

namespace tandem::graph {
namespace {

/// Groups of nodes by union-find; a group is one vertex of the graph that the pass makes.
class Fusion {
 public:
  explicit Fusion(Graph& g) : g_(g), uses_(g), geometry_(g) {
    const size_t n = g.nodes().size();
    group_.resize(n);
    members_.resize(n);
    seen_.assign(n, 0);
    for (size_t k = 0; k < n; ++k) {
      group_[k] = int(k);
      members_[k] = {int(k)};
    }
  }

  void run() {
    const size_t n = g_.nodes().size();
    candidate_.resize(n);
    for (size_t k = 0; k < n; ++k) candidate_[k] = find_operands(int(k));
    uses_ = Uses(g_);  // operands have been replaced
    for (size_t k = 0; k < n; ++k) {
      if (!candidate_[k]) continue;
      for (ValueId id : g_.nodes()[k].inputs) {
        const int from = uses_.made[size_t(id)];
        if (from >= 0 && candidate_[size_t(from)]) merge(int(k), from);
      }
    }
    rebuild();
  }

 private:
  const Spec& spec(ValueId id) const { return g_.value(id).spec; }

  /// Whether the node can be an instruction. An operand that only repeats another value is replaced
  /// by that value.
  bool find_operands(int k) {
    Node& n = g_.edit_nodes()[size_t(k)];
    if (n.inputs.empty() || n.outputs.size() != 1) return false;
    Tensors in;
    for (ValueId id : n.inputs) {
      if (id < 0 || g_.value(id).kind == ValueKind::effect) return false;
      in.push_back(detail::new_symbolic(spec(id)));
    }
    const Spec& out = spec(n.outputs[0]);
    if (!is_point(*n.info, Specs(in.data(), int(in.size())), out)) return false;
    std::vector<ValueId> operands = n.inputs;
    for (ValueId& id : operands) {
      Repeats how;
      while (!geometry_[id].is_contiguous()) {
        const int from = uses_.made[size_t(id)];
        if (from < 0 || !as<Expand>(g_.nodes()[size_t(from)])) return false;
        id = g_.nodes()[size_t(from)].inputs[0];
      }
      if (spec(id).shape.numel() != 1 && !repeats_in(spec(id).shape, out.shape, how)) return false;
    }
    if (operands == n.inputs) return true;
    // An operand of fewer axes changes how unlike types promote, and perhaps the result's shape.
    for (size_t i = 0; i < operands.size(); ++i) {
      if (spec(operands[i]).dtype != out.dtype) return false;
      in[i] = detail::new_symbolic(spec(operands[i]));
    }
    if (!is_point(*n.info, Specs(in.data(), int(in.size())), out)) return false;
    n.inputs = operands;
    return true;
  }

  int group_of(int k) const { return group_[size_t(k)]; }
  const std::vector<int>& members(int group) const { return members_[size_t(group)]; }

  /// Joins two groups unless a node outside lies between them, or they are too much for one.
  void merge(int x, int y) {
    int a = group_of(x), b = group_of(y);
    if (a == b) return;
    const Spec &sa = spec(g_.nodes()[size_t(x)].outputs[0]),
               &sb = spec(g_.nodes()[size_t(y)].outputs[0]);
    if (!(sa.shape == sb.shape)) return;
    if (members(a).size() + members(b).size() > FusedPoint::max_instructions) return;
    if (!independent(a, b) || !small_enough(a, b)) return;
    if (members(a).size() < members(b).size()) std::swap(a, b);
    auto& all = members_[size_t(a)];
    const auto& more = members_[size_t(b)];
    for (int k : more) group_[size_t(k)] = a;
    all.insert(all.end(), more.begin(), more.end());
    std::sort(all.begin(), all.end());
    members_[size_t(b)].clear();
    std::erase(joined_, b);
    if (std::find(joined_.begin(), joined_.end(), a) == joined_.end()) joined_.push_back(a);
  }

  /// Whether no path leaves the two groups and comes back. It is looked for backwards, as far as a
  /// node in front of which nothing is part of a group that reaches past it.
  bool independent(int a, int b) {
    int first = std::min(members(a).front(), members(b).front());
    for (bool moved = true; moved;) {
      moved = false;
      for (int group : joined_) {
        const auto& all = members(group);
        if (all.empty() || all.front() >= first || all.back() < first) continue;
        first = all.front();
        moved = true;
      }
    }
    ++stamp_;
    pending_.clear();
    auto visit = [&](int group) {
      if (seen_[size_t(group)] == stamp_ || members(group).back() < first) return;
      seen_[size_t(group)] = stamp_;
      pending_.push_back(group);
    };
    auto each_source = [&](int group, auto f) {
      for (int k : members(group))
        for (ValueId id : g_.nodes()[size_t(k)].inputs)
          if (const int from = uses_.maker(id); from >= 0) f(group_of(from));
    };
    for (int group : {a, b})
      each_source(group, [&](int from) {
        if (from != a && from != b) visit(from);
      });
    bool found = false;
    for (size_t done = 0; done < pending_.size() && !found; ++done) {
      if (done > 4096) return false;  // a search that long costs more than it gains
      each_source(pending_[done], [&](int from) {
        if (from == a || from == b) found = true;
        else visit(from);
      });
    }
    return !found;
  }

  bool small_enough(int a, int b) {
    std::vector<ValueId> in;
    size_t out = 0;
    for (int group : {a, b})
      for (int k : members(group)) {
        for (ValueId id : g_.nodes()[size_t(k)].inputs) {
          const int from = uses_.made[size_t(id)];
          const bool inside = from >= 0 && (group_of(from) == a || group_of(from) == b);
          if (!inside && std::find(in.begin(), in.end(), id) == in.end()) in.push_back(id);
        }
        out += needed_outside(k, a, b);
      }
    return in.size() <= FusedPoint::max_inputs && out <= FusedPoint::max_outputs;
  }

  /// Whether anything but members of the groups reads the result of node k.
  bool needed_outside(int k, int a, int b) {
    const size_t id = size_t(g_.nodes()[size_t(k)].outputs[0]);
    const auto& readers = uses_.readers[id];
    return uses_.kept[id] || std::any_of(readers.begin(), readers.end(), [&](int r) {
             return group_of(r) != a && group_of(r) != b;
           });
  }

  /// The node of a whole group; its record is null when that cannot be made.
  Node fuse(int group) {
    Node node;
    FusedPoint p;
    std::unordered_map<ValueId, int> number;
    const auto& all = members(group);
    p.shape = spec(g_.nodes()[size_t(all[0])].outputs[0]).shape;
    for (int k : all)
      for (ValueId id : g_.nodes()[size_t(k)].inputs) {
        const int from = uses_.made[size_t(id)];
        if (from >= 0 && group_of(from) == group) continue;
        if (!number.emplace(id, int(node.inputs.size())).second) continue;
        node.inputs.push_back(id);
        p.inputs.push_back(spec(id));
      }
    for (int k : all) {
      const Node& n = g_.nodes()[size_t(k)];
      FusedPoint::Instruction step{n.info, n.op, {}, spec(n.outputs[0]).dtype};
      for (ValueId id : n.inputs) step.operands.push_back(number.at(id));
      const int result = int(p.inputs.size() + p.program.size());
      number.emplace(n.outputs[0], result);
      p.program.push_back(std::move(step));
      if (needed_outside(k, group, group)) {
        node.outputs.push_back(n.outputs[0]);
        p.outputs.push_back(result);
      }
      if (node.path.empty()) node.path = n.path;
    }
    const size_t outputs = p.outputs.size();
    node.op = make_fused_point(std::move(p));
    if (node.op) node.info = &fused_point_info(int(outputs));
    return node;
  }

  /// Nodes in an order in which groups are one: the earlier one stays in front where it may.
  void rebuild() {
    bool any = false;
    for (size_t k = 0; k < members_.size(); ++k) any = any || members_[k].size() > 1;
    if (!any) return;
    std::unordered_map<int, Node> fused;
    for (size_t a = 0; a < members_.size(); ++a) {
      if (members_[a].size() < 2) continue;
      Node node = fuse(int(a));
      if (node.info) {
        fused.emplace(int(a), std::move(node));
        continue;
      }
      for (int k : std::vector<int>(std::move(members_[a]))) {
        group_[size_t(k)] = k;
        members_[size_t(k)] = {k};
      }
    }
    std::vector<int> missing(members_.size(), 0);
    std::vector<std::vector<int>> next(members_.size());
    for (size_t a = 0; a < members_.size(); ++a)
      for (int k : members_[a])
        for (ValueId id : g_.nodes()[size_t(k)].inputs) {
          const int from = uses_.maker(id);
          if (from < 0 || group_of(from) == int(a)) continue;
          next[size_t(group_of(from))].push_back(int(a));
          ++missing[a];
        }
    // A group waits until its last node's turn.
    using Entry = std::pair<int, int>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
    auto push = [&](int a) { ready.emplace(members_[size_t(a)].back(), a); };
    for (size_t a = 0; a < members_.size(); ++a)
      if (!members_[a].empty() && missing[a] == 0) push(int(a));
    std::vector<Node> nodes;
    while (!ready.empty()) {
      const int a = ready.top().second;
      ready.pop();
      const auto it = fused.find(a);
      nodes.push_back(it != fused.end()
                          ? std::move(it->second)
                          : std::move(g_.edit_nodes()[size_t(members_[size_t(a)][0])]));
      for (int b : next[size_t(a)])
        if (--missing[size_t(b)] == 0) push(b);
    }
    g_.edit_nodes() = std::move(nodes);
  }

  Graph& g_;
  Uses uses_;
  Geometry geometry_;
  std::vector<bool> candidate_;            // by node
  std::vector<int> group_;                 // by node
  std::vector<std::vector<int>> members_;  // by group, in order; empty when it joined another
  std::vector<int> joined_;                // groups of several nodes
  std::vector<uint32_t> seen_;
  std::vector<int> pending_;
  uint32_t stamp_ = 0;
};

}  // namespace

void fuse_points(Graph& g) {
  Fusion(g).run();
  eliminate_dead_code(g);  // views that a fused node looks through
}

}  // namespace tandem::graph
