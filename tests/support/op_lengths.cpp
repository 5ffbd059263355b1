#include <map>

#include "tandem/autograd/autograd.h"
#include "tandem/graph/session.h"
#include "tests/support/op_checks.h"

namespace tandem::testing {
namespace {

/// Which axes of the inputs are unknown while the graph is built.
enum class Unknown { first, each, equal_ones };
constexpr std::pair<Unknown, const char*> kinds[] = {
    {Unknown::first, "first axes unknown"},
    {Unknown::each, "every axis a length of its own"},
    {Unknown::equal_ones, "equal axes one length"}};

class Symbols {
 public:
  explicit Symbols(Unknown kind) : kind_(kind) {}

  /// A placeholder for a tensor of this shape.
  Tensor operator()(const std::string& name, const Tensor& like) const {
    Shape shape = like.shape();
    for (int a = 0; a < shape.size(); ++a) {
      if (kind_ == Unknown::first && a > 0) break;
      shape[a] = kind_ == Unknown::equal_ones ? dim(cat("n", shape[a])) : Length(-1);
    }
    return placeholder(name, shape, like.dtype());
  }

 private:
  Unknown kind_;
};

/// Results and gradients of plain code, and of a session whose placeholders are like its inputs.
std::string compare_session(const Case& c, Unknown kind) {
  const Tensors in = c.inputs();
  Tensors want = run(c, in);
  const auto graph = graph::Graph::make();
  const GraphScope scope(graph);
  const Symbols symbol(kind);
  Tensors symbolic(in.size());
  std::vector<Feed> feeds;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].defined()) continue;
    const bool key = in[i].dtype() == i64 && in[i].dim() == 1 && in[i].size(0) == 2;
    symbolic[i] = key ? placeholder(cat("in", i), in[i].shape(), i64) : symbol(cat("in", i), in[i]);
    feeds.push_back({symbolic[i], in[i]});
  }
  Tensors fetches = run(c, symbolic);
  if (c.checks_gradient()) {
    Tensors given(in), roots, sroots, cotangents, scotangents, leaves, sleaves;
    {
      const EagerScope now;
      for (size_t i = 0; i < in.size(); ++i)
        if (in[i].defined() && is_floating(in[i].dtype())) {
          given[i] = in[i].detach().requires_grad_();
          symbolic[i] = symbolic[i].requires_grad_();
          leaves.push_back(given[i]);
          sleaves.push_back(symbolic[i]);
        }
    }
    const Tensors out = [&] {
      const EagerScope now;
      return run(c, given);
    }();
    const Tensors sout = run(c, symbolic);
    for (size_t k = 0; k < size_t(results_of(*c.info)); ++k) {
      if (!out[k].requires_grad()) continue;
      roots.push_back(out[k]);
      sroots.push_back(sout[k]);
      {
        const EagerScope now;
        cotangents.push_back(c.cotangent(int(k), out[k].spec()));
      }
      scotangents.push_back(symbol(cat("d", k), cotangents.back()));
      feeds.push_back({scotangents.back(), cotangents.back()});
    }
    if (!roots.empty()) {
      const Tensors sg = grad(sroots, sleaves, scotangents, {.allow_unused = true});
      const EagerScope now;
      const Tensors g = grad(roots, leaves, cotangents, {.allow_unused = true});
      for (size_t i = 0; i < g.size(); ++i) {
        if (g[i].defined() != sg[i].defined())
          return cat("gradient ", i, " is defined in one of plain code and session only\n");
        if (!g[i].defined()) continue;
        want.push_back(g[i]);
        fetches.push_back(sg[i]);
      }
    }
  }
  const EagerScope now;
  Session session(graph);
  Tensors got;
  for (Tensor& t : session.run({fetches.data(), fetches.size()}, feeds)) got.push_back(t);
  return compare_all("result", got, want, 1);
}

}  // namespace

std::string check_lengths(const Case& c) {
  std::string wrong;
  for (const auto& [kind, name] : kinds) {
    try {
      if (const std::string t = compare_session(c, kind); !t.empty()) wrong += cat(name, ": ", t);
    } catch (const Error& e) {
      wrong += cat(name, " throws: ", e.what(), "\n");
    }
  }
  return wrong;
}

}  // namespace tandem::testing
