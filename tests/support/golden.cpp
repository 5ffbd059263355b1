#include "tests/support/golden.h"

#include <filesystem>
#include <memory>

#include "tandem/io/npy.h"

namespace tandem::testing {

const Golden* Golden::of(std::string_view op) {
  static std::map<std::string, std::unique_ptr<Golden>, std::less<>> loaded;
  if (auto it = loaded.find(op); it != loaded.end()) return it->second.get();
  const std::string path = cat(TANDEM_SOURCE_DIR "/tests/golden/ops/", op, ".npz");
  std::unique_ptr<Golden> golden;
  if (std::filesystem::exists(path)) {
    std::map<std::string, Tensor> arrays;
    for (auto& [name, array] : load_npz(path)) arrays[name] = array;
    golden = std::make_unique<Golden>(std::move(arrays));
  }
  return loaded.emplace(std::string(op), std::move(golden)).first->second.get();
}

Tensor Golden::get(const std::string& name) const {
  const auto it = arrays_.find(name);
  return it == arrays_.end() ? Tensor() : it->second;
}

}  // namespace tandem::testing
