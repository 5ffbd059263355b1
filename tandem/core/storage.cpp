#include "tandem/core/storage.h"

#include <new>

#include "tandem/core/allocator.h"

namespace tandem::detail {

namespace {
constexpr size_t header = (sizeof(Storage) + block_align - 1) / block_align * block_align;
// Data that fits a small block lies behind the header.
bool is_inline(size_t bytes) { return header + bytes <= small_limit; }
}  // namespace

Storage* new_storage(size_t bytes, Device device) {
  if (device.type == DeviceType::null) {
    auto* s = new (allocate(header)) Storage;
    s->device = device;
    return s;
  }
  if (is_inline(bytes)) {
    auto* s = new (allocate(header + bytes)) Storage;
    s->data = reinterpret_cast<char*>(s) + header;
    s->bytes = bytes;
    return s;
  }
  void* data = allocate(bytes);
  auto* s = new (allocate(header)) Storage;
  s->data = static_cast<char*>(data);
  s->bytes = bytes;
  return s;
}

Storage* wrap_storage(void* data, size_t bytes, std::shared_ptr<void> owner) {
  auto* s = new (allocate(header)) Storage;
  s->data = static_cast<char*>(data);
  s->bytes = bytes;
  s->owner = owner ? std::move(owner) : std::shared_ptr<void>(data, [](void*) {});
  return s;
}

void delete_storage(Storage* s) noexcept {
  const bool ours = !s->owner && s->device.type == DeviceType::cpu;
  const size_t bytes = s->bytes;
  char* data = s->data;
  const bool inlined = ours && data == reinterpret_cast<char*>(s) + header;
  s->~Storage();
  if (ours && !inlined) release(data, bytes);
  release(s, inlined ? header + bytes : header);
}

}  // namespace tandem::detail
