// The rules of optimizers in ONNX's training domain.
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

/// Rate, count of steps, and then lists of tensors: parameters, gradients, `states` more. f updates
/// a parameter and its states.
template <class F>
Tensors each_parameter(I& n, int states, const F& f) {
  const int each = 2 + states, count = (n.inputs() - 2) / each;
  n.need(count > 0 && n.inputs() == 2 + count * each, "takes 2 + ", each, " N inputs, has ",
         n.inputs());
  const Tensor rate = reshape(n.in(0), {}), step = reshape(n.in(1), {});
  std::vector<Tensors> lists(size_t(1 + states));
  for (int i = 0; i < count; ++i) {
    Tensor x = n.in(2 + i), s[2];
    // The gradient of the norm is part of what the rules are given.
    const Tensor g = x * n.real("norm_coefficient", 0) + n.in(2 + count + i);
    for (int k = 0; k < states; ++k) s[k] = n.in(2 + (2 + k) * count + i);
    const DType d = x.dtype();
    f(cast(rate, d), cast(step, d), x, g, s);
    lists[0].push_back(x);
    for (int k = 0; k < states; ++k) lists[size_t(k) + 1].push_back(s[k]);
  }
  Tensors all;
  for (const Tensors& list : lists)
    for (const Tensor& t : list) all.push_back(t);
  return all;
}

Tensors momentum(I& n) {
  const std::string mode = n.text("mode", "standard");
  n.need(mode == "standard" || mode == "nesterov", "mode ", mode);
  const double alpha = n.real("alpha", 0), beta = n.real("beta", 0);
  return each_parameter(
      n, 1, [&](const Tensor& rate, const Tensor& step, Tensor& x, const Tensor& g, Tensor* s) {
        const Tensor factor = where(step > 0.0, full({}, beta, x.dtype()), full({}, 1, x.dtype()));
        s[0] = s[0] * alpha + g * factor;
        x = x - rate * (mode == "standard" ? s[0] : g + s[0] * alpha);
      });
}
Tensors adagrad(I& n) {
  const double decay = n.real("decay_factor", 0), epsilon = n.real("epsilon", 0);
  return each_parameter(
      n, 1, [&](const Tensor& rate, const Tensor& step, Tensor& x, const Tensor& g, Tensor* s) {
        s[0] = s[0] + square(g);
        x = x - rate / (step * decay + 1.0) * g / (sqrt(s[0]) + epsilon);
      });
}
Tensors adam(I& n) {
  const double alpha = n.real("alpha", 0.9f), beta = n.real("beta", 0.999f),
               epsilon = n.real("epsilon", 0), after = n.real("norm_coefficient_post", 0);
  return each_parameter(
      n, 2, [&](const Tensor& rate, const Tensor& step, Tensor& x, const Tensor& g, Tensor* s) {
        s[0] = s[0] * alpha + g * (1 - alpha);
        s[1] = s[1] * beta + square(g) * (1 - beta);
        const DType d = x.dtype();
        const Tensor bias =
            sqrt(1.0 - pow(full({}, beta, d), step)) / (1.0 - pow(full({}, alpha, d), step));
        const Tensor adjusted = rate * where(step > 0.0, bias, full({}, 1, d));
        x = (x - adjusted * (s[0] / (sqrt(s[1]) + epsilon))) * (1 - after);
      });
}

}  // namespace

void add_learning_imports(OnnxImports& t) {
  t.insert({{"ai.onnx.preview.training.Momentum", momentum},
            {"ai.onnx.preview.training.Adagrad", adagrad},
            {"ai.onnx.preview.training.Adam", adam}});
}

}  // namespace tandem::detail
