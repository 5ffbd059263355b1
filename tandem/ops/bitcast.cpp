#include "tandem/ops/bitcast.h"

#include <cstring>

#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Bitcast)

Spec Bitcast::infer(Specs in) const {
  const DType from = in[0].dtype;
  check<DTypeError>(itemsize(from) == itemsize(dtype), *this, "elements of ", from, " have ",
                    itemsize(from), " bytes");
  check<DTypeError>(from == dtype || dtype != boolean, *this, "a bool is 0 or 1, got ", from);
  return {in[0].shape, dtype, in[0].device};
}

void Bitcast::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0]);
  if (x.numel())
    std::memcpy(out[0].raw_data(), x.raw_data(), size_t(x.numel() * itemsize(x.dtype())));
}

Samples<Bitcast> Bitcast::samples() {
  using sample::listed;
  const InputSpec special = listed({6}, {0.0, -0.0, 1, -HUGE_VAL, 1e-3, -2.5}, f32);
  return {.ok = {{{.dtype = i32}, {special}},
                 {{.dtype = f32}, {{{3, 5}, i32}}},
                 {{.dtype = u32}, {special}},
                 {{.dtype = i64}, {sample::strided({3, 4}, u64)}},
                 {{.dtype = u8}, {{{}, i8}}},
                 {{.dtype = f16}, {{{0, 2}, i16}}}},
          .errors = {
              {{.dtype = i32}, {{{3}}}, "bitcast(dtype=i32): elements of f64 have 8 bytes"},
              {{.dtype = boolean}, {{{3}, u8}}, "bitcast(dtype=bool): a bool is 0 or 1, got u8"}}};
}

}  // namespace tandem
