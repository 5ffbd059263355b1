#include "tandem/backend/cpu/onednn_error.h"

#include <oneapi/dnnl/dnnl.hpp>

#include "tandem/core/error.h"

namespace tandem::cpu {

void check_memory(const dnnl::error& e) {
  if (e.status == dnnl_out_of_memory)
    throw OutOfMemory("allocate: oneDNN got no memory from the system");
}

void throw_failed(const char* op, const dnnl::error& e) {
  check_memory(e);
  throw Error(cat(op, ": oneDNN failed: ", e.what()));
}

}  // namespace tandem::cpu
