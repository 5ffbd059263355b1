// Gradients against central differences.
#include <cmath>

#include "tandem/autograd/autograd.h"
#include "tests/support/op_checks.h"

namespace tandem::testing {
namespace {

constexpr double step = 1e-6;
constexpr int most_elements = 40;  // of each input; the directions cover the rest

double& element(const Tensor& t, int64_t i) {
  int64_t at = 0;
  for (int d = t.dim() - 1; d >= 0; --d) {
    at += i % t.shape()[d] * t.strides()[d];
    i /= t.shape()[d];
  }
  return t.data<double>()[at];
}

/// A scalar function of several f64 tensors, as the tensors whose product with fixed weights is the
/// scalar: differences are taken before the sum, so that large sums do not drown them.
struct Function {
  Tensors variables;  ///< their memory is changed and restored
  Tensors weights;
  virtual ~Function() = default;
  virtual Tensors values() = 0;

  double change(const std::vector<std::pair<double*, double>>& moves) {
    auto shifted = [&](double sign) {
      std::vector<double> before;
      for (auto [p, by] : moves) {
        before.push_back(*p);
        *p += sign * step * by;
      }
      Tensors v;
      for (const Tensor& t : values()) v.push_back(t.defined() ? detail::as_contiguous(t, f64) : t);
      for (size_t i = 0; i < moves.size(); ++i) *moves[i].first = before[i];
      // A view of what was moved must not be restored with it.
      return v;
    };
    const Tensors up = shifted(1), down = shifted(-1);
    double sum = 0;
    for (size_t k = 0; k < up.size(); ++k) {
      if (!up[k].defined() || !down[k].defined()) continue;
      const Tensor w = detail::as_contiguous(weights[k], f64);
      for (int64_t i = 0; i < up[k].numel(); ++i)
        sum += w.data<double>()[i] * (up[k].data<double>()[i] - down[k].data<double>()[i]);
    }
    return sum / (2 * step);
  }

  double size() {
    double most = 1;
    for (const Tensor& t : values()) {
      if (!t.defined()) continue;
      const Tensor c = detail::as_contiguous(t, f64);
      for (int64_t i = 0; i < c.numel(); ++i) most = std::max(most, std::abs(c.data<double>()[i]));
    }
    return most;
  }

  /// Compares single elements and two directions through all of them.
  std::string check(const Tensors& gradient, uint64_t seed) {
    Random random(seed);
    double largest = 0;
    for (const Tensor& g : gradient)
      for (int64_t i = 0; g.defined() && i < g.numel(); ++i)
        largest = std::max(largest, std::abs(element(g, i)));
    const double floor = 2e-6 * largest + 1e-8 * size();
    auto wrong = [&](double got, double want) {
      return !(std::abs(got - want) <= floor + 2e-5 * std::abs(want));
    };
    for (size_t v = 0; v < variables.size(); ++v) {
      const int64_t n = variables[v].numel();
      const bool all = n <= most_elements;
      for (int64_t k = 0; k < std::min<int64_t>(n, most_elements); ++k) {
        const int64_t i = all ? k : random.below(n);
        const double got = gradient[v].defined() ? element(gradient[v], i) : 0;
        const double want = change({{&element(variables[v], i), 1.0}});
        if (wrong(got, want))
          return cat("derivative by element ", i, " of variable ", v, " is ", got,
                     ", differences say ", want, "\n");
      }
    }
    for (int round = 0; round < 2; ++round) {
      std::vector<std::pair<double*, double>> moves;
      double got = 0;
      for (size_t v = 0; v < variables.size(); ++v)
        for (int64_t i = 0; i < variables[v].numel(); ++i) {
          const double by = random.uniform() - 0.5;
          moves.emplace_back(&element(variables[v], i), by);
          if (gradient[v].defined()) got += by * element(gradient[v], i);
        }
      const double want = change(moves);
      if (!(std::abs(got - want) <=
            (floor + 2e-5 * std::abs(want)) * std::sqrt(double(moves.size() + 1))))
        return cat("derivative along a direction is ", got, ", differences say ", want, "\n");
    }
    return "";
  }
};

Tensors copies(const Tensors& in) {
  Tensors out;
  for (const Tensor& t : in) {
    if (!t.defined()) out.push_back(t);
    else if (t.is_contiguous()) {
      out.push_back(empty(t.spec()));
      detail::copy_data(out.back(), t);
    } else {
      out.push_back(lay_transposed(t));
    }
  }
  return out;
}

std::vector<size_t> f64_inputs(const Case& c) {
  std::vector<size_t> which;
  for (size_t i = 0; i < c.sample.in.size(); ++i)
    if (c.sample.in[i].fill != InputSpec::absent && c.sample.in[i].dtype == f64) which.push_back(i);
  return which;
}

struct Forward final : Function {
  const Case& c;
  Tensors in;
  explicit Forward(const Case& kase) : c(kase), in(copies(kase.inputs())) {
    for (size_t i : f64_inputs(c)) variables.push_back(in[i]);
    NoGrad off;
    for (const Tensor& t : run(c, in)) {
      const int k = int(weights.size());
      const bool counts = is_floating(t.dtype()) && k < results_of(*c.info);
      weights.push_back(counts ? c.cotangent(k, t.spec()) : Tensor());
    }
  }
  Tensors values() override {
    NoGrad off;
    Tensors out;
    for (const Tensor& t : run(c, in)) {
      out.push_back(Tensor());
      if (weights.size() > out.size() - 1 && !weights[out.size() - 1].defined()) continue;
      if (!is_floating(t.dtype())) continue;
      out.back() = empty(t.shape(), f64);  // a view would change with its input
      detail::copy_data(out.back(), t);
    }
    return out;
  }
};

/// The first gradient as a function of the inputs and of the cotangents.
struct Backward final : Function {
  const Case& c;
  Tensors in, cotangents;
  explicit Backward(const Case& kase) : c(kase), in(copies(kase.inputs())) {
    for (size_t i : f64_inputs(c)) variables.push_back(in[i]);
    NoGrad off;
    const Tensors out = run(c, in);
    for (size_t k = 0; k < out.size(); ++k) {
      const bool counts = out[k].dtype() == f64 && int(k) < results_of(*c.info);
      cotangents.push_back(counts ? c.cotangent(int(k), out[k].spec()) : Tensor());
      if (cotangents.back().defined()) variables.push_back(cotangents.back());
    }
    for (size_t i : f64_inputs(c)) weights.push_back(c.cotangent(500 + int(i), in[i].spec()));
  }

  /// First gradients; with `create` the given leaves stay attached.
  Tensors first(const Tensors& leaves, bool create) {
    EnableGrad on;
    Tensors given(in), wanted;
    const auto which = f64_inputs(c);
    for (size_t j = 0; j < which.size(); ++j) {
      given[which[j]] = leaves[j];
      wanted.push_back(leaves[j]);
    }
    const Tensors out = run(c, given);
    std::vector<Tensor> roots, seeds;
    size_t next = which.size();
    for (size_t k = 0; k < out.size(); ++k) {
      if (!cotangents[k].defined()) continue;
      const Tensor seed = leaves[next++];
      if (!out[k].requires_grad()) continue;
      roots.push_back(out[k]);
      seeds.push_back(seed);
    }
    if (roots.empty()) return Tensors(wanted.size());
    return grad(roots, wanted, seeds, {.create_graph = create, .allow_unused = true});
  }
  Tensors leaves() {
    Tensors out;
    for (const Tensor& v : variables) {
      out.push_back(detail::alias(v));
      out.back().requires_grad_();
    }
    return out;
  }
  Tensors values() override {
    Tensors out;
    for (const Tensor& g : first(leaves(), false)) {
      out.push_back(Tensor());
      if (!g.defined()) continue;
      out.back() = empty(g.spec());
      detail::copy_data(out.back(), g);
    }
    return out;
  }
};

}  // namespace

std::string check_gradient(const Case& c) {
  Forward f(c);
  Tensors gradient;
  const Tensors all = gradients(c, f.in);
  for (size_t i : f64_inputs(c)) gradient.push_back(all[i]);
  return f.check(gradient, seed_of(c.info->name, c.number, 2000));
}

std::string check_second_gradient(const Case& c) {
  Backward b(c);
  const Tensors leaves = b.leaves();
  const Tensors first = b.first(leaves, true);
  std::vector<Tensor> roots, seeds;
  for (size_t i = 0; i < first.size(); ++i)
    if (first[i].defined() && first[i].requires_grad()) {
      roots.push_back(first[i]);
      seeds.push_back(b.weights[i]);
    }
  Tensors second(leaves.size());
  if (!roots.empty()) second = grad(roots, leaves, seeds, {.allow_unused = true});
  return b.check(second, seed_of(c.info->name, c.number, 3000));
}

}  // namespace tandem::testing
