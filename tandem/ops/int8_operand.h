// What the products of 8-bit integers take, as their kernels want it.
#pragma once
#include <algorithm>
#include <vector>

#include "tandem/backend/cpu/gemm_int8.h"
#include "tandem/op/copy.h"
#include "tandem/op/op.h"

namespace tandem::detail {

inline bool is_byte(DType d) { return d == i8 || d == u8; }

template <class O>
void check_int8_operands(const O& op, Specs in) {
  check<DTypeError>(is_byte(in[0].dtype) && is_byte(in[1].dtype), op, "takes i8 and u8, got ",
                    in[0].dtype, " and ", in[1].dtype);
  for (int i = 0; i < 2; ++i)
    if (in.has(2 + i))
      check<DTypeError>(in[2 + i].dtype == in[i].dtype, op, "a zero point of ", in[2 + i].dtype,
                        " for ", in[i].dtype);
}

/// An operand as signed bytes, with its zero points moved alike.
struct Int8Operand {
  Tensor values;  ///< i8, row-major
  std::vector<int32_t> zeros;

  Int8Operand(const Tensor& t, const Tensor& zero) : values(as_contiguous(t)) {
    const bool moves = t.dtype() == u8;
    if (moves) {
      const Tensor to = empty(t.shape(), i8);
      cpu::shift(values.data<uint8_t>(), to.data<int8_t>(), t.numel());
      values = to;
    }
    if (zero.defined())
      for (int64_t v : zero.to_vector<int64_t>()) zeros.push_back(int32_t(v) - (moves ? 128 : 0));
    else zeros.push_back(moves ? -128 : 0);
  }
  bool one() const {
    return std::all_of(zeros.begin(), zeros.end(), [&](int32_t z) { return z == zeros[0]; });
  }
  const int8_t* data() const { return static_cast<const int8_t*>(values.raw_data()); }
};

}  // namespace tandem::detail
