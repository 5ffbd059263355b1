#include "tandem/core/text.h"

#include <charconv>
#include <cmath>

namespace tandem {

std::string to_string(Device d) {
  switch (d.type) {
    case DeviceType::cpu: return "cpu";
    case DeviceType::cuda: return "cuda:" + std::to_string(d.index);
    case DeviceType::null: break;
  }
  return "null";
}

namespace detail {

void append(std::string& s, double v) {
  if (std::isnan(v)) {
    s += "nan";
    return;
  }
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, v).ptr;
  s.append(buffer, end);
}

void append(std::string& s, int64_t v) {
  char buffer[24];
  s.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, v).ptr);
}

}  // namespace detail
}  // namespace tandem
