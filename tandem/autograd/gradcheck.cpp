#include "tandem/autograd/gradcheck.h"

#include <cmath>

#include "tandem/autograd/autograd.h"
#include "tandem/op/copy.h"
#include "tandem/op/fields.h"
#include "tandem/ops/add.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/sum.h"

namespace tandem::detail {
namespace {

/// A fixed sequence in [0.5, 1.5): no entry of the Jacobian is weighted away.
Tensor cotangent(const Shape& shape, uint64_t seed) {
  Tensor t = empty(shape, f64);
  for (int64_t i = 0; i < t.numel(); ++i) {
    seed = mix(seed, uint64_t(i));
    t.data<double>()[i] = 0.5 + double(seed >> 11) * 0x1p-53;
  }
  return t;
}

double weighted(const Tensor& y, const Tensor& w) {
  const Tensor flat = as_contiguous(y.detach());
  double s = 0;
  for (int64_t i = 0; i < flat.numel(); ++i) s += flat.data<double>()[i] * w.data<double>()[i];
  return s;
}

void check_inputs(const Tensors& inputs) {
  bool any = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined() || !inputs[i].requires_grad()) continue;
    any = true;
    require<DTypeError>(inputs[i].dtype() == f64, "gradcheck(): input ", int64_t(i), " is ",
                        inputs[i].dtype(), ", finite differences need f64");
    require<GradientError>(inputs[i].is_leaf() && inputs[i].is_contiguous(), "gradcheck(): input ",
                           int64_t(i), " must be a row-major leaf");
  }
  require<GradientError>(any, "gradcheck(): no input requires a gradient");
}

/// Gives an entry its value back, whatever the function that is checked throws.
struct Restore {
  explicit Restore(double& v) : value(v), before(v) {}
  ~Restore() { value = before; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  double& value;
  const double before;
};

void compare(TensorFunction f, const Tensors& inputs, const GradcheckOptions& o, const char* what) {
  const Tensor y = f(inputs);
  const Tensor w = cotangent(y.shape(), 1);
  Tensors wanted;
  for (const Tensor& t : inputs)
    if (t.defined() && t.requires_grad()) wanted.push_back(t);
  Tensors analytic(wanted.size());
  if (y.requires_grad()) analytic = grad({&y, 1}, wanted, {&w, 1}, {.allow_unused = true});
  for (size_t k = 0; k < wanted.size(); ++k) {
    Tensor g = analytic[k].defined() ? as_contiguous(analytic[k], f64) : Tensor();
    double* x = wanted[k].data<double>();
    for (int64_t i = 0; i < wanted[k].numel(); ++i) {
      double up, down;
      {
        const Restore entry(x[i]);
        x[i] = entry.before + o.step;
        up = weighted(f(inputs), w);
        x[i] = entry.before - o.step;
        down = weighted(f(inputs), w);
      }
      const double numeric = (up - down) / (2 * o.step);
      const double value = g.defined() ? g.data<double>()[i] : 0.0;
      require<GradientError>(std::fabs(value - numeric) <= o.atol + o.rtol * std::fabs(numeric),
                             "gradcheck(): ", what, " of input ", int64_t(k), " of shape ",
                             wanted[k].shape(), " at element ", i, " is ", value,
                             ", finite differences give ", numeric);
    }
  }
}

}  // namespace

void run_gradcheck(TensorFunction f, const Tensors& inputs, const GradcheckOptions& options) {
  check_inputs(inputs);
  compare(f, inputs, options, "the gradient");
  if (!options.second) return;
  // The gradient is a function of the same inputs: check its gradient in the same way.
  const auto first_gradient = [&](const Tensors& in) {
    const Tensor y = f(in);
    const Tensor w = cotangent(y.shape(), 2);
    Tensors wanted;
    for (const Tensor& t : in)
      if (t.defined() && t.requires_grad()) wanted.push_back(t);
    const Tensors g = grad({&y, 1}, wanted, {&w, 1}, {.create_graph = true, .allow_unused = true});
    Tensor total;
    for (size_t k = 0; k < g.size(); ++k) {
      if (!g[k].defined()) continue;
      const Tensor part = sum(g[k] * cotangent(g[k].shape(), 3 + k));
      total = total.defined() ? total + part : part;
    }
    return total.defined() ? total : Tensor(0.0);
  };
  compare(first_gradient, inputs, options, "the second gradient");
}

}  // namespace tandem::detail
