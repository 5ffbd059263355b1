#include "tandem/op/registry.h"

namespace tandem {

const OpInfo* find_op(std::string_view name) {
  for (const OpInfo* row : ops())
    if (row->name == name) return row;
  return nullptr;
}

}  // namespace tandem
