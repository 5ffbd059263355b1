// Any bytes given as idx files, plain and gzipped: a tensor or an IOError, nothing else.
#include <cstddef>
#include <cstdint>

#include "tandem/core/error.h"
#include "tandem/io/idx.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    (void)tandem::parse_idx({data, size});
  } catch (const tandem::IOError&) {}
  return 0;
}
