#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tandem/core/device.h"
#include "tandem/core/export.h"

namespace tandem {

/// A counted block of memory that one or more tensors look at.
struct Storage {
  std::atomic<uint32_t> refs{1};
  uint32_t version = 0;          ///< grows with every in-place write
  const char* writer = nullptr;  ///< the op that wrote last, for error texts
  char* data = nullptr;
  size_t bytes = 0;
  uint32_t block = 0;  ///< small data: the bytes of the tensor's whole block, see new_tensor
  Device device;
  std::shared_ptr<void> owner;  ///< keeps foreign memory alive; then `data` is not ours
};

namespace detail {
/// Uninitialised memory on `device`.
TANDEM_API Storage* new_storage(size_t bytes, Device device);
/// Memory that `owner` keeps alive.
TANDEM_API Storage* wrap_storage(void* data, size_t bytes, std::shared_ptr<void> owner);
TANDEM_API void delete_storage(Storage* s) noexcept;

// The last owner needs no read-modify-write: nobody else can raise a count that is one.
inline bool drop_ref(std::atomic<uint32_t>& refs) noexcept {
  return refs.load(std::memory_order_acquire) == 1 ||
         refs.fetch_sub(1, std::memory_order_acq_rel) == 1;
}
inline void add_ref(std::atomic<uint32_t>& refs) noexcept {
  refs.fetch_add(1, std::memory_order_relaxed);
}
/// Takes a reference unless the object is already dying.
inline bool try_ref(std::atomic<uint32_t>& refs) noexcept {
  uint32_t n = refs.load(std::memory_order_relaxed);
  while (n != 0)
    if (refs.compare_exchange_weak(n, n + 1, std::memory_order_acq_rel)) return true;
  return false;
}
}  // namespace detail
}  // namespace tandem
