#include "tandem/core/number.h"

#include "tandem/core/error.h"

namespace tandem::detail {

void throw_unfit(std::string_view op, Scalar number, std::string_view type) {
  const std::string value = number.kind() == f64 ? cat(number.to_double()) : cat(number.to_int());
  throw ValueError(cat(op, ": the number ", value, " does not fit ", type));
}

}  // namespace tandem::detail
