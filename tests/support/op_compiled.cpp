#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/graph/compile.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/reshape.h"
#include "tests/support/op_checks.h"

namespace tandem::testing {
namespace {

using List = std::vector<Tensor>;

/// The op on the inputs that it was given, the others left out.
struct Body {
  const Case& c;
  Tensors given;
  bool surrounded;  ///< by elementwise nodes, which passes fuse with their neighbours
  bool across;      ///< inside the function each input is a look at an argument, axes reversed

  static Tensor reversed(const Tensor& t) {
    Shape axes;
    for (int k = t.dim(); k-- > 0;) axes.push_back(k);
    return t.dim() < 2 ? t : t.permute(axes);
  }
  bool wraps(const Tensor& t) const { return surrounded && is_floating(t.dtype()); }
  Tensors operator()(const List& defined) const {
    Tensors in;
    size_t next = 0;
    for (const Tensor& t : given) {
      in.push_back(t.defined() ? defined[next++] : Tensor());
      if (t.defined() && across) in.back() = reversed(in.back());
      else if (t.defined() && wraps(t)) in.back() = neg(neg(in.back()));
    }
    Tensors out = run(c, in);
    for (Tensor& t : out)
      if (wraps(t)) t = neg(t);
    return out;
  }

  List cotangents() const {
    List all;
    const NoGrad off;
    const Tensors out = run(c, given);
    for (size_t k = 0; k < out.size(); ++k)
      all.push_back(is_floating(out[k].dtype()) ? c.cotangent(int(k), out[k].spec()) : Tensor());
    return all;
  }
};

List defined_only(const Tensors& list) {
  List all;
  for (const Tensor& t : list)
    if (t.defined()) all.push_back(t);
  return all;
}

/// The gradients of `out` with respect to the floating ones of `in`; zeros where there is none.
List gradients_of(const Body& body, const Tensors& out, const List& in, const List& cotangents) {
  List roots, seeds, leaves;
  for (size_t k = 0; k < size_t(results_of(*body.c.info)); ++k)
    if (out[k].requires_grad()) {
      roots.push_back(out[k]);
      seeds.push_back(cotangents[k]);
    }
  for (const Tensor& t : in)
    if (t.requires_grad()) leaves.push_back(t);
  if (roots.empty()) return {};
  List all;
  const Tensors found = grad(roots, leaves, seeds, {.allow_unused = true});
  for (size_t i = 0; i < found.size(); ++i)
    all.push_back(found[i].defined() ? found[i] : zeros_like(leaves[i]));
  return all;
}

std::string compare(const std::string& what, const List& got, const List& want, bool exact,
                    double slack) {
  if (got.size() != want.size()) return cat(what, ": ", got.size(), " for ", want.size(), "\n");
  std::string wrong;
  for (size_t i = 0; i < got.size(); ++i) {
    const Tolerance tolerance = exact ? Tolerance{} : tolerance_of(want[i].dtype()) * slack;
    if (const std::string d = difference(got[i], want[i], tolerance); !d.empty())
      wrong += cat(what, " ", i, " ", d, "\n");
  }
  return wrong;
}

std::string check(const Case& c, const Tensors& in, bool surrounded, bool across,
                  bool deterministic) {
  const Body body{c, in, surrounded, across};
  const CompileOptions options{.max_captures = 1, .deterministic = deterministic};
  bool exact = deterministic;
  List plain = defined_only(in);
  if (across)
    for (Tensor& t : plain) t = contiguous(Body::reversed(t));
  // A plan works on a row-major copy: sums may run in another order.
  for (const Tensor& t : plain) exact = exact && t.is_contiguous();
  const std::string how = cat(surrounded ? "among others, " : "", across ? "of looks, " : "",
                              deterministic ? "deterministic, " : "");

  auto forward = [&](const List& x) {
    const Tensors out = body(x);
    return List(out.begin(), out.end());
  };
  std::string wrong;
  {
    const NoGrad off;
    auto compiled = compile(forward, options);
    const List want = forward(plain);
    for (const char* call : {"first", "second"})
      wrong += compare(cat(how, call, " call, output"), compiled(plain), want, exact, 1);
  }
  if (!c.info->differentiable || !c.has_floating_input() || !c.sample.gradient) return wrong;

  List leaves;
  for (const Tensor& t : plain) {
    leaves.push_back(t);
    if (!is_floating(t.dtype())) continue;
    leaves.back() = detail::alias(t);
    leaves.back().requires_grad_();
  }
  const List seeds = body.cotangents();
  const List want = gradients_of(body, body(leaves), leaves, seeds);
  auto inside = [&](const List& x) { return gradients_of(body, body(x), x, seeds); };
  auto compiled = compile(inside, options);
  for (const char* call : {"first", "second"})
    wrong += compare(cat(how, call, " call, gradient inside"), compiled(leaves), want, exact, 4);
  auto outside = compile(forward, options);
  for (const char* call : {"first", "second"}) {
    const List out = outside(leaves);
    wrong +=
        compare(cat(how, call, " call, gradient from outside"),
                gradients_of(body, Tensors(out.begin(), out.end()), leaves, seeds), want, exact, 4);
  }
  return wrong;
}

}  // namespace

std::string check_compiled(const Case& c) {
  std::string wrong;
  for (const std::optional<DType> d : {std::optional<DType>(), std::optional<DType>(f32)}) {
    if (d && !c.has_floating_input()) break;
    const Tensors in = c.inputs(d);
    std::string found;
    for (bool surrounded : {false, true})
      for (bool across : {false, true})
        for (bool deterministic : {true, false})
          found += check(c, in, surrounded, across, deterministic);
    if (!found.empty()) wrong += cat(d ? "f32: " : "", found);
  }
  return wrong;
}

}  // namespace tandem::testing
