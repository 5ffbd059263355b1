#include "tandem/autograd/taken.h"

#include "tandem/core/factory.h"
#include "tandem/op/tape.h"
#include "tandem/ops/add.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

bool same_value(const Tensor& a, const Tensor& b) {
  if (a.is_same(b)) return true;
  if (!a.is_symbolic() || !b.is_symbolic()) return false;
  const TensorExtras &x = *a.impl()->extras, &y = *b.impl()->extras;
  return x.recorder == y.recorder && x.value == y.value;
}
bool same(const Taken& a, const Taken& b) {
  return a.always() == b.always() &&
         (a.always() || (a.holds == b.holds && same_value(a.condition, b.condition)));
}

}  // namespace

Tensor as_boolean(const Taken& when) {
  const Tensor one = when.condition.dim() ? reshape(when.condition, {}) : when.condition;
  if (!when.holds) return logical_not(one);
  return one.dtype() == boolean ? one : one != Tensor(0);
}

Tensor where_taken(const Tensor& gradient, const Taken& when, bool zero) {
  const bool symbolic = gradient.is_symbolic();
  if (when.always() || !(symbolic || when.condition.is_symbolic())) return gradient;
  if (!symbolic)  // a constant of the graph
    return where_taken(where(as_boolean(when), gradient, zeros_like(gradient)), when, true);
  // A handle of its own: a gradient may be passed on as it is.
  Tensor g = alias(gradient);
  TensorImpl& to = *g.impl();
  const TensorImpl& from = *gradient.impl();
  to.flags |= from.flags & TensorImpl::needs_grad;
  to.node = from.node;
  to.output_nr = from.output_nr;
  if (to.node) add_ref(to.node->refs);
  to.extras->taken = when.condition;
  to.extras->taken_if = when.holds;
  to.extras->else_zero = zero;
  return g;
}

Tensor settled(const Tensor& gradient) {
  const Taken when = taken_of(gradient);
  if (when.always() || gradient.impl()->extras->else_zero) return gradient;
  return where_taken(where(as_boolean(when), gradient, zeros_like(gradient)), when, true);
}

Taken both(const Taken& a, const Taken& b) {
  if (a.always() || same(a, b)) return b;
  if (b.always()) return a;
  return {logical_and(as_boolean(a), as_boolean(b)), true};
}

Taken either(const Taken& a, const Taken& b) {
  if (a.always() || b.always()) return {};
  if (same(a, b)) return a;
  if (same_value(a.condition, b.condition)) return {};  // the two branches of one node
  return {logical_or(as_boolean(a), as_boolean(b)), true};
}

Tensor sum_of_partial(const Tensor& a, const Tensor& b) {
  const Taken x = taken_of(a), y = taken_of(b);
  if (same(x, y))
    return where_taken(a + b, x, a.impl()->extras->else_zero && b.impl()->extras->else_zero);
  return where_taken(settled(a) + settled(b), either(x, y), true);
}

bool stays_zero(const Tensor& gradient, const Taken& taken) {
  return is_partial(gradient) && gradient.impl()->extras->else_zero &&
         (taken.always() || same(taken_of(gradient), taken));
}

Taken common(Tensors& gradients) {
  Taken all;
  bool first = true, differ = false, any = false;
  for (const Tensor& g : gradients) {
    if (!g.defined()) continue;
    const Taken mine = taken_of(g);
    any = any || !mine.always();
    if (!first) differ = differ || !same(all, mine);
    if (first) all = mine;
    first = false;
  }
  if (!any || !differ) return all;
  first = true;
  for (Tensor& g : gradients) {
    if (!g.defined()) continue;
    g = settled(g);
    all = first ? taken_of(g) : either(all, taken_of(g));
    first = false;
  }
  return all;
}

}  // namespace tandem::detail
