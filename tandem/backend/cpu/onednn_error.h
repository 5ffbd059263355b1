// What the library makes of oneDNN's exceptions.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>

#include "tandem/core/error.h"

namespace tandem::cpu {

/// OutOfMemory when that is what it was; else returns.
inline void check_memory(const dnnl::error& e) {
  if (e.status == dnnl_out_of_memory)
    throw OutOfMemory("allocate: oneDNN got no memory from the system");
}

[[noreturn]] inline void throw_failed(const char* op, const dnnl::error& e) {
  check_memory(e);
  throw Error(cat(op, ": oneDNN failed: ", e.what()));
}

}  // namespace tandem::cpu
