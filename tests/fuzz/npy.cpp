// Any bytes given as NumPy's array files: a tensor or an IOError, nothing else.
#include <cstddef>
#include <cstdint>

#include "tandem/core/error.h"
#include "tandem/io/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    (void)tandem::parse_npy({data, size});
  } catch (const tandem::IOError&) {}
  return 0;
}
