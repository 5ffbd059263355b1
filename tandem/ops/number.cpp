#include "tandem/ops/number.h"

#include "tandem/core/captured.h"
#include "tandem/core/factory.h"
#include "tandem/core/length_table.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/op/recorder.h"

namespace tandem {

TANDEM_OP(NumberOf)

Spec NumberOf::infer(Specs) const {
  check<DTypeError>(dtype == i64 || dtype == f64 || dtype == boolean, *this,
                    "a C++ number is i64, f64 or bool");
  return {{}, dtype, {}};
}

void NumberOf::cpu(Inputs, Outputs out) const {
  const double v = value;
  if (dtype == f64) *out[0].data<double>() = v;
  else if (dtype == i64) *out[0].data<int64_t>() = int64_t(v);
  else *out[0].data<bool>() = v != 0;
}

Samples<NumberOf> NumberOf::samples() {
  return {.ok = {{{.value = 2.5}, {}}, {{.value = 7, .dtype = i64}, {}}},
          .errors = {{{.value = 1, .dtype = f32},
                      {},
                      "number(value=1, dtype=f32): a C++ number is i64, f64 or bool"}}};
}

Tensor detail::captured_number(const Scalar& number) {
  const NumberOf op{.value = number.number(), .dtype = number.kind()};
  if (modes & Modes::capture) return tandem::apply(op, Inputs{});
  // Outside of its GraphScope the graph still takes what is made of its values.
  Recorder* graph = LengthTable::of(op.value)->graph;
  require(graph != nullptr, "a length that no placeholder has is used as a value");
  const CaptureScope scope(*graph);
  return tandem::apply(op, Inputs{});
}

}  // namespace tandem
