#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

/// Tensors with names, in order: what `state_dict()` gives and files hold.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// The tensor of that name, or an undefined one.
inline Tensor find(const NamedTensors& list, std::string_view name) {
  for (const auto& [key, tensor] : list)
    if (key == name) return tensor;
  return {};
}

}  // namespace tandem
