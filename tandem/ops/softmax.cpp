#include "tandem/ops/softmax.h"

#include <limits>

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Softmax)
TANDEM_OP(SoftmaxGrad)
TANDEM_OP(LogSoftmax)
TANDEM_OP(LogSoftmaxGrad)

namespace {

template <class O>
Spec row_spec(const O& op, Specs in) {
  check_axis(op, op.axis, in[0].shape);
  check<DTypeError>(is_floating(in[0].dtype), op, "dtype ", in[0].dtype,
                    " is not floating; cast it");
  return in[0];
}

template <class O>
Spec row_grad_spec(const O& op, Specs in) {
  check<ShapeError>(in[0].shape == in[1].shape, op, "y has shape ", in[0].shape, " and dy ",
                    in[1].shape, "; they must be equal");
  check<DTypeError>(in[0].dtype == in[1].dtype, op, "dtypes ", in[0].dtype, " and ", in[1].dtype,
                    " differ; cast one of them");
  return row_spec(op, in);
}

Tensor row_sum(const Tensor& x, int64_t axis) { return x.dim() == 0 ? x : sum(x, {axis}, true); }

template <class O>
Samples<O> row_samples() {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const std::string name(O::name);
  return {.ok = {{{}, {{{3, 5}}}},
                 {{.axis = 0}, {{{3, 5}}}},
                 {{.axis = 1}, {{{2, 17, 3}}}},
                 {{.axis = -2}, {sample::strided({4, 3, 2})}},
                 {{.axis = 0}, {{{21, 40}}}},
                 {{}, {{{}}}},
                 {{.axis = 0}, {{{0, 3}}}},
                 {{.axis = 1}, {{{3, 0}}}},
                 {{}, {{{2, 1}}}},
                 {{}, {sample::scaled({3, 40}, 100)}, false},
                 {{}, {sample::listed({3, 3}, {-inf, 0, 1, inf, 0, 1, nan, 0, 1})}, false},
                 {{}, {sample::listed({2, 3}, {-inf, -inf, -inf, 1, 2, nan})}, false}},
          .errors = {
              {{.axis = 2},
               {{{3, 5}}},
               name + "(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]"},
              {{.axis = 1}, {{{}}}, name + "(axis=1): axis 1 is out of range [-1, 0] for shape []"},
              {{}, {{{3, 5}, i64}}, name + "(axis=-1): dtype i64 is not floating; cast it"}}};
}

template <class O>
Samples<O> row_grad_samples() {
  const std::string name(O::name);
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{.axis = 0}, {{{3, 5}}, sample::strided({3, 5})}},
                 {{.axis = 1}, {{{2, 17, 3}}, {{2, 17, 3}}}},
                 {{}, {{{}}, {{}}}},
                 {{.axis = 0}, {{{0, 3}}, {{0, 3}}}}},
          .errors = {{{},
                      {{{3, 5}}, {{3, 4}}},
                      name + "(axis=-1): y has shape [3, 5] and dy [3, 4]; they must be equal"},
                     {{.axis = 2},
                      {{{3, 5}}, {{3, 5}}},
                      name + "(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]"}}};
}

}  // namespace

Spec Softmax::infer(Specs in) const { return row_spec(*this, in); }
Tensors Softmax::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(SoftmaxGrad{.axis = axis}, {s.out(), dy})};
}
Samples<Softmax> Softmax::samples() { return row_samples<Softmax>(); }

Spec SoftmaxGrad::infer(Specs in) const { return row_grad_spec(*this, in); }
Tensors SoftmaxGrad::vjp(const Saved& s, const Tensor& g) const {
  const Tensor &y = s.in(0), &dy = s.in(1);
  Tensor gy;
  if (s.needs(0)) gy = g * (dy - row_sum(y * dy, axis)) - dy * row_sum(g * y, axis);
  return {gy, s.needs(1) ? apply(SoftmaxGrad{.axis = axis}, {y, g}) : Tensor()};
}
Samples<SoftmaxGrad> SoftmaxGrad::samples() { return row_grad_samples<SoftmaxGrad>(); }

Spec LogSoftmax::infer(Specs in) const { return row_spec(*this, in); }
Tensors LogSoftmax::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(LogSoftmaxGrad{.axis = axis}, {s.out(), dy})};
}
Samples<LogSoftmax> LogSoftmax::samples() { return row_samples<LogSoftmax>(); }

Spec LogSoftmaxGrad::infer(Specs in) const { return row_grad_spec(*this, in); }
Tensors LogSoftmaxGrad::vjp(const Saved& s, const Tensor& g) const {
  const Tensor &y = s.in(0), &dy = s.in(1);
  const Tensor p = exp(y);
  Tensor gy;
  if (s.needs(0)) gy = neg(g * p * row_sum(dy, axis));
  return {gy, s.needs(1) ? g - row_sum(g * p, axis) : Tensor()};
}
Samples<LogSoftmaxGrad> LogSoftmaxGrad::samples() { return row_grad_samples<LogSoftmaxGrad>(); }

Tensor softmax(const Tensor& x, int64_t axis, std::optional<DType> dtype) {
  return apply(Softmax{.axis = axis}, {dtype ? cast(x, *dtype) : x});
}
Tensor log_softmax(const Tensor& x, int64_t axis, std::optional<DType> dtype) {
  return apply(LogSoftmax{.axis = axis}, {dtype ? cast(x, *dtype) : x});
}

}  // namespace tandem
