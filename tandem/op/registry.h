#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// All records, in the order of their names. Written by the build from the TANDEM_OP lines.
TANDEM_API const OpInfo* const* op_table(int& count);
/// The row of that name, or null.
TANDEM_API const OpInfo* find_op(std::string_view name);
inline std::span<const OpInfo* const> ops() {
  int n = 0;
  const OpInfo* const* table = op_table(n);
  return {table, size_t(n)};
}

}  // namespace tandem
