#include "tandem/core/storage.h"

#include <new>

#include "tandem/core/allocator.h"

namespace tandem::detail {

Storage* new_storage(size_t bytes, Device device) {
  const bool real = device.type == DeviceType::cpu;
  void* data = real ? allocate(bytes) : nullptr;
  auto* s = new (allocate(sizeof(Storage))) Storage;
  s->data = static_cast<char*>(data);
  s->bytes = real ? bytes : 0;
  s->device = device;
  return s;
}

Storage* wrap_storage(void* data, size_t bytes, std::shared_ptr<void> owner) {
  auto* s = new (allocate(sizeof(Storage))) Storage;
  s->data = static_cast<char*>(data);
  s->bytes = bytes;
  s->owner = owner ? std::move(owner) : std::shared_ptr<void>(data, [](void*) {});
  return s;
}

void delete_storage(Storage* s) noexcept {
  if (s->data && !s->owner) release(s->data, s->bytes);
  s->~Storage();
  release(s, sizeof(Storage));
}

}  // namespace tandem::detail
