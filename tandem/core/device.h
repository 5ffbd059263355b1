#pragma once
#include <cstdint>
#include <string>

#include "tandem/core/export.h"

namespace tandem {

enum class DeviceType : uint8_t { cpu, cuda, null };

/// Where a tensor's data lives. The null device has shapes without data.
struct Device {
  DeviceType type = DeviceType::cpu;
  int8_t index = 0;
  friend constexpr bool operator==(Device, Device) = default;
};

inline constexpr Device cpu_device{};
inline constexpr Device null_device{DeviceType::null, 0};

/// "cpu", "cuda:0", "null"
TANDEM_API std::string to_string(Device d);

}  // namespace tandem
