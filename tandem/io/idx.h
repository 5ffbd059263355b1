#pragma once
#include <span>
#include <string>
#include <string_view>

#include "tandem/core/tensor.h"

namespace tandem {

/// Reads an idx file, the format of MNIST (LeCun, Cortes and Burges, "The MNIST database"), plain
/// or gzipped. Errors: IOError with file, byte and rule.
TANDEM_API Tensor load_idx(const std::string& path);
/// As `load_idx`, of bytes in memory; `name` is what errors call them.
TANDEM_API Tensor parse_idx(std::span<const uint8_t> bytes, std::string_view name = "idx");

}  // namespace tandem
