#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tandem::detail {

/// Whether the text is well-formed UTF-8 (Unicode 15, table 3-7: shortest forms, no surrogates).
/// Protobuf's readers refuse a whole message for one `string` that is not.
inline bool is_utf8(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t(0); };
  const auto within = [](uint8_t b, int low, int high) { return b >= low && b <= high; };
  for (size_t i = 0; i < text.size();) {
    const uint8_t a = at(i), b = at(i + 1);
    int more = 0;
    if (a < 0x80) more = 0;
    else if (within(a, 0xC2, 0xDF)) more = 1;
    else if (a == 0xE0 ? within(b, 0xA0, 0xBF) : a == 0xED ? within(b, 0x80, 0x9F) : (a >> 4) == 14)
      more = 2;
    else if (a == 0xF0   ? within(b, 0x90, 0xBF)
             : a == 0xF4 ? within(b, 0x80, 0x8F)
                         : within(a, 0xF1, 0xF3))
      more = 3;
    else return false;
    for (int k = 1; k <= more; ++k)
      if (!within(at(i + size_t(k)), 0x80, 0xBF)) return false;
    i += size_t(more) + 1;
  }
  return true;
}

}  // namespace tandem::detail
