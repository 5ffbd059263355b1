// Working memory of the kernels: packed panels, reordered activations, partial sums.
#pragma once

#include <cstddef>

#include "tandem/core/export.h"

namespace tandem::cpu {

/// A lease of `bytes` of uninitialised, 64-byte aligned memory, in huge pages from 2 MiB up,
/// because page faults otherwise cost more than the arithmetic. Blocks are kept by the thread that
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
