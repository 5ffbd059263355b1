#pragma once
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "tandem/core/by_name.h"
#include "tandem/core/tensor.h"

namespace tandem {

/// Reads NumPy's .npy file, format 1.0 to 3.0, either byte order, rows or columns first (NumPy
/// enhancement proposal 1). f, i, u and b give the dtype of their width; V2 is read as bf16.
/// Errors: IOError with file, byte and rule; object, structured, string and complex arrays are
/// refused.
TANDEM_API Tensor load_npy(const std::string& path);
/// As `load_npy`, of bytes in memory; `name` is what errors call them.
TANDEM_API Tensor parse_npy(std::span<const uint8_t> bytes, std::string_view name = "npy");
/// Writes a .npy file, atomically; bf16 is written as raw `<V2`. Errors: IOError.
TANDEM_API void save_npy(const std::string& path, const Tensor& t);

/// Reads NumPy's .npz archive (stored or deflated): name to tensor, without the ending ".npy".
/// Members that are no .npy give their raw bytes as u8. Errors: as `load_npy`.
TANDEM_API std::map<std::string, Tensor> load_npz(const std::string& path);
TANDEM_API std::map<std::string, Tensor> parse_npz(std::span<const uint8_t> bytes,
                                                   std::string_view name = "npz");

struct NpzOptions {
  ByName by_name = ByName();
  bool compressed = false;  ///< deflate the members, as numpy.savez_compressed does
};
/// Writes a .npz archive, atomically. Errors: IOError.
TANDEM_API void save_npz(const std::string& path, const std::map<std::string, Tensor>& tensors,
                         NpzOptions options = {});

}  // namespace tandem
