#include "tandem/ops/partials.h"

#include <vector>

#include "tandem/autograd/autograd.h"
#include "tandem/ops/reshape.h"

namespace tandem::detail {

Tensors variables(const Tensors& values, bool linked) {
  Tensors out;
  for (const Tensor& v : values) {
    if (!v.defined() || !is_floating(v.dtype())) {
      out.push_back(v);
    } else if (linked && v.requires_grad()) {
      out.push_back(reshape(v, v.shape()));
    } else {
      out.push_back(v.detach());
      out.back().requires_grad_();
    }
  }
  return out;
}

Tensors gradients(const Tensors& outputs, const Tensors& inputs, const Tensors& seeds,
                  bool create_graph) {
  std::vector<Tensor> roots, root_seeds, wanted;
  std::vector<size_t> at;
  for (size_t i = 0; i < outputs.size() && i < seeds.size(); ++i) {
    if (!outputs[i].defined() || !seeds[i].defined() || !outputs[i].requires_grad()) continue;
    roots.push_back(outputs[i]);
    root_seeds.push_back(seeds[i]);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined() || !inputs[i].requires_grad()) continue;
    wanted.push_back(inputs[i]);
    at.push_back(i);
  }
  Tensors result(inputs.size());
  if (roots.empty() || wanted.empty()) return result;
  const Tensors found =
      grad(roots, wanted, root_seeds,
           {.retain_graph = true, .create_graph = create_graph, .allow_unused = true});
  for (size_t i = 0; i < at.size(); ++i) result[at[i]] = found[i];
  return result;
}

}  // namespace tandem::detail
