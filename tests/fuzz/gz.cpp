// Any bytes given as a gzip stream: content or an IOError, nothing else.
#include <cstddef>
#include <cstdint>

#include "tandem/io/gz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const tandem::detail::Source source{{data, size}, "fuzz"};
    tandem::detail::GzReader reader(source);
    uint8_t buffer[4096];
    // A small stream may hold a lot; some of it is enough.
    for (int i = 0; i < 64 && reader.read(buffer, sizeof buffer) == sizeof buffer; ++i) {}
  } catch (const tandem::IOError&) {}
  return 0;
}
