#pragma once
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "tandem/core/named_tensors.h"

namespace tandem {

/// Reads a .safetensors file. The tensors lie in the mapped file and keep it open; writing to them
/// changes only this process. They come in the order of their data. Format: the README of
/// huggingface/safetensors, whose rules are checked: no holes, no overlaps, no duplicate names.
/// Errors: IOError with file, byte and rule.
TANDEM_API NamedTensors load_safetensors(const std::string& path);
/// The texts that the file carries beside its tensors.
TANDEM_API std::map<std::string, std::string> load_safetensors_metadata(const std::string& path);
/// As `load_safetensors`, of bytes in memory, which are copied; `name` is what errors call them.
TANDEM_API NamedTensors parse_safetensors(std::span<const uint8_t> bytes,
                                          std::string_view name = "safetensors",
                                          std::map<std::string, std::string>* metadata = nullptr);

/// Writes a .safetensors file: beside the old file first, then renamed over it, so that a failed or
/// killed save leaves the old one whole. Errors: IOError; ValueError for names
/// that are not UTF-8 or come twice.
TANDEM_API void save_safetensors(const std::string& path, const NamedTensors& tensors,
                                 const std::map<std::string, std::string>& metadata = {});

}  // namespace tandem
