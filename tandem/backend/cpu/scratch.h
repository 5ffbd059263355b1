// Working memory of the kernels: packed panels, reordered activations, partial sums.
#pragma once

#include <cstddef>

#include "tandem/core/export.h"

namespace tandem::cpu {

/// Where scratch memory comes from. `alloc` gives 64-byte aligned memory or nullptr.
struct ScratchHooks {
  void* (*alloc)(size_t bytes);
  void (*free)(void* p, size_t bytes);
};

/// Replaces the source (by default: the operating system, huge pages from 2 MiB up, because page
/// faults otherwise cost more than the arithmetic). Blocks remember the source they came from.
TANDEM_API void set_scratch_hooks(ScratchHooks hooks) noexcept;

/// Gives back every idle block of every thread.
TANDEM_API void release_scratch() noexcept;

/// Bytes held by all threads, idle or in use.
TANDEM_API size_t scratch_bytes() noexcept;

/// A lease of `bytes` of uninitialised, 64-byte aligned memory. Blocks are kept by the thread that
/// took them and are used again. Throws OutOfMemory.
class TANDEM_API Scratch {
 public:
  explicit Scratch(size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* as() const noexcept {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  void* block_ = nullptr;
};

}  // namespace tandem::cpu
