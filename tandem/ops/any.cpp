#include "tandem/ops/any.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/reduce_shape.h"

namespace tandem {

TANDEM_OP(Any)
TANDEM_OP(All)
namespace {

template <class O>
Spec infer_truth(const O& op, const Spec& x) {
  return {detail::reduced_shape(op, op.axes, op.keepdim, x.shape), x.dtype == u8 ? u8 : boolean,
          x.device};
}

template <class O>
Samples<O> truth_samples() {
  return {.ok = {{{}, {sample::mask({3, 5})}},
                 {{.axes = {0}}, {sample::mask({3, 5})}},
                 {{.axes = {1}, .keepdim = true}, {sample::listed({3, 2}, {0, 0, 1, 0, NAN, 2})}},
                 {{.axes = {-1, 0}}, {sample::listed({2, 3, 4}, {0, 0, 0, 0, 1, 2})}},
                 {{.axes = {0}}, {sample::listed({4, 17}, {0, 0, 1}, i64)}},
                 {{}, {sample::listed({70}, {0}, i32)}},
                 {{}, {sample::listed({5}, {0, 2}, u8)}},
                 {{}, {{{}}}},
                 {{.axes = {0}}, {sample::mask({0, 3})}},
                 {{}, {sample::mask({0})}}},
          .errors = {{{.axes = {2}},
                      {sample::mask({3, 5})},
                      std::string(O::name) +
                          "(axes=[2], keepdim=false): axis 2 is out of range [-2, 1] for shape "
                          "[3, 5]"}}};
}

}  // namespace

Spec Any::infer(Specs in) const { return infer_truth(*this, in[0]); }
Samples<Any> Any::samples() { return truth_samples<Any>(); }

Spec All::infer(Specs in) const { return infer_truth(*this, in[0]); }
Samples<All> All::samples() { return truth_samples<All>(); }

}  // namespace tandem
