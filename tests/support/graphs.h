#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/graph/passes.h"

namespace tandem::testing {

/// The graph of `f` on symbolic inputs x0, x1, ... of these specs; its results are y0, y1, ...
template <class F>
std::shared_ptr<graph::Graph> graph_of(const std::vector<Spec>& specs, F f) {
  auto g = graph::Graph::make();
  Tensors in;
  for (size_t i = 0; i < specs.size(); ++i) in.push_back(g->input(cat("x", i), specs[i]));
  const detail::CaptureScope scope(*g);
  const Tensors out = f(in);
  for (size_t i = 0; i < out.size(); ++i) g->output(cat("y", i), out[i]);
  g->take_gradients();
  return g;
}

/// How many nodes of the graph hold a record of that name.
inline int count(const graph::Graph& g, std::string_view name) {
  int n = 0;
  for (const graph::Node& node : g.nodes()) n += node.info->name == name;
  return n;
}

/// Equal specs and bytes; both are row-major.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.spec() == b.spec() &&
         std::memcmp(a.raw_data(), b.raw_data(), size_t(a.numel() * itemsize(a.dtype()))) == 0;
}

/// Expects the pass to turn one text into the other. Names stand in both for what is long in them.
inline void expect_pass(void (*pass)(graph::Graph&), std::string before, std::string after,
                        std::vector<std::pair<std::string_view, std::string_view>> names = {}) {
  for (std::string* text : {&before, &after})
    for (const auto& [name, by] : names)
      for (size_t at = text->find(name); at != text->npos; at = text->find(name))
        text->replace(at, name.size(), by);
  const auto g = graph::parse(before);
  graph::verify(*g);
  pass(*g);
  graph::verify(*g);
  EXPECT_EQ(graph::to_string(*g), after);
  EXPECT_EQ(graph::to_string(*graph::parse(after)), after);
}

}  // namespace tandem::testing
