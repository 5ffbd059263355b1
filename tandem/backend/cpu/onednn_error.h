// What failures of oneDNN become.
#pragma once

namespace dnnl {
struct error;
}

namespace tandem::cpu {

/// Throws OutOfMemory when that is what `e` says.
void check_memory(const dnnl::error& e);
[[noreturn]] void throw_failed(const char* op, const dnnl::error& e);

}  // namespace tandem::cpu
