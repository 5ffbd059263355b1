#include "tandem/ops/compare.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Eq)
TANDEM_OP(Ne)
TANDEM_OP(Lt)
TANDEM_OP(Le)
TANDEM_OP(Gt)
TANDEM_OP(Ge)

Samples<Eq> Eq::samples() { return sample::comparison<Eq>(); }

Samples<Ne> Ne::samples() { return sample::comparison<Ne>(); }

Samples<Lt> Lt::samples() { return sample::comparison<Lt>(); }

Samples<Le> Le::samples() { return sample::comparison<Le>(); }

Samples<Gt> Gt::samples() { return sample::comparison<Gt>(); }

Samples<Ge> Ge::samples() { return sample::comparison<Ge>(); }

}  // namespace tandem
