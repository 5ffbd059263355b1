// Any bytes given as NumPy's archives: a tensor or an IOError, nothing else.
#include <cstddef>
#include <cstdint>

#include "tandem/core/error.h"
#include "tandem/io/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    (void)tandem::parse_npz({data, size});
  } catch (const tandem::IOError&) {}
  return 0;
}
