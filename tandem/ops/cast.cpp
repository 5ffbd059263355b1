#include "tandem/ops/cast.h"

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Cast)
TANDEM_OP(Clone)
TANDEM_OP(CopyInto)

Spec Cast::infer(Specs in) const { return {in[0].shape, dtype, in[0].device}; }
void Cast::cpu(Inputs in, Outputs out) const { detail::copy_data(out[0], in[0]); }
Tensors Cast::vjp(const Saved& s, const Tensor& dy) const { return {cast(dy, s.spec(0).dtype)}; }

Samples<Cast> Cast::samples() {
  return {.ok = {{{.dtype = f32}, {{{3, 5}}}, false},
                 {{.dtype = f64}, {sample::strided({3, 4})}},
                 {{.dtype = f64}, {{{}}}},
                 {{.dtype = i32}, {{{0, 3}}}},
                 {{.dtype = i64}, {{{7}}}},
                 {{.dtype = boolean}, {{{7}, i32}}},
                 {{.dtype = f32}, {sample::mask({7})}}},
          .errors = {}};
}

Spec Clone::infer(Specs in) const { return in[0]; }
void Clone::cpu(Inputs in, Outputs out) const { detail::copy_data(out[0], in[0]); }
Tensors Clone::vjp(const Saved&, const Tensor& dy) const { return {dy}; }

Samples<Clone> Clone::samples() {
  return {.ok = {{{}, {{{3, 5}}}}, {{}, {sample::strided({3, 4})}}, {{}, {{{}}}}, {{}, {{{0}}}}},
          .errors = {}};
}

Spec CopyInto::infer(Specs in) const {
  Shape both;
  check<ShapeError>(
      broadcast(in[0].shape, in[1].shape, both) && detail::may_equal(both, in[0].shape), *this,
      "shape ", in[1].shape, " does not broadcast to ", in[0].shape);
  return in[0];
}

void CopyInto::cpu(Inputs in, Outputs out) const { detail::copy_data(out[0], in[1]); }

Tensors CopyInto::vjp(const Saved&, const Tensor& dy) const { return {zeros_like(dy), dy}; }

Samples<CopyInto> CopyInto::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{5}}}}, {{}, {{{3, 5}}, {{3, 1}}}}, {{}, {{{2}}, {{}}}}},
          .errors = {{{}, {{{3}}, {{4}}}, "copy_into(): shape [4] does not broadcast to [3]"}}};
}

}  // namespace tandem
