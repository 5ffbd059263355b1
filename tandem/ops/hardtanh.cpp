#include "tandem/ops/hardtanh.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Hardtanh)
TANDEM_OP(HardtanhGrad)

Spec Hardtanh::infer(Specs in) const {
  check(min_val <= max_val, *this, "min_val exceeds max_val");
  check<DTypeError>(in[0].dtype != boolean, *this, "booleans have no hardtanh");
  return detail::point_infer(op_info<Hardtanh>(), this, in, result);
}

Tensors Hardtanh::vjp(const Saved& s, const Tensor& dy) const {
  return {hardtanh_grad(dy, s.in(0), min_val, max_val)};
}

Samples<Hardtanh> Hardtanh::samples() {
  return {
      .ok = {{{}, {{{3, 5}}}},
             {{}, {{{}}}},
             {{}, {{{0, 2}}}},
             {{}, {sample::strided({5, 4})}},
             {{.min_val = -2.5, .max_val = 0.5}, {sample::scaled({17, 3}, 3)}},
             {{},
              {sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})},
              false},
             {{}, {{{6}, i32}}}},
      .errors = {
          {{.min_val = 2, .max_val = 1},
           {{{3}}},
           "hardtanh(min_val=2, max_val=1): min_val exceeds max_val"},
          {{}, {sample::mask({3})}, "hardtanh(min_val=-1, max_val=1): booleans have no hardtanh"}}};
}

Tensors HardtanhGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {hardtanh_grad(ddy, s.in(1), min_val, max_val), Tensor()};
}

Samples<HardtanhGrad> HardtanhGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{}}, {{}}}},
                 {{}, {{{0, 2}}, {{0, 2}}}},
                 {{.min_val = -2.5, .max_val = 0.5}, {{{17, 3}}, sample::scaled({17, 3}, 3)}}},
          .errors = {}};
}

}  // namespace tandem
