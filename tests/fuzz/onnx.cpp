// Any bytes given as an ONNX model, and as a tensor: structs or an IOError; what was read can be
// written, and reads back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "tandem/core/error.h"
#include "tandem/io/onnx_file.h"

using namespace tandem;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    (void)onnx::parse_tensor({data, size});
  } catch (const IOError&) {}
  onnx::Model model;
  try {
    model = onnx::parse_model({data, size});
  } catch (const IOError&) {
    return 0;
  }
  std::string bytes;
  try {
    bytes = onnx::serialize(model);
  } catch (const ValueError&) {
    return 0;  // text that is not UTF-8
  }
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  if (onnx::serialize(onnx::parse_model({p, bytes.size()})) != bytes) std::abort();
  return 0;
}
