#pragma once
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "tandem/core/shape.h"

namespace tandem::detail {

/// A text made without asking for memory; what does not fit is cut off.
class ShortText {
 public:
  template <class... A>
  explicit ShortText(const A&... a) noexcept {
    (add(a), ...);
  }
  std::string_view view() const noexcept { return {text_, size_}; }

 private:
  void add(std::string_view s) noexcept {
    const size_t n = std::min(s.size(), sizeof text_ - size_);
    std::memcpy(text_ + size_, s.data(), n);
    size_ += n;
  }
  void add(const char* s) noexcept { add(std::string_view(s)); }
  void add(int64_t v) noexcept {
    const auto end = std::to_chars(text_ + size_, text_ + sizeof text_, v);
    if (end.ec == std::errc()) size_ = size_t(end.ptr - text_);
  }
  void add(size_t v) noexcept { add(int64_t(v)); }
  void add(const Shape& s) noexcept {
    add("[");
    for (int i = 0; i < s.size(); ++i) {
      if (i) add(", ");
      if (s[i].is_known()) add(s[i].bits());
      else add("?");
    }
    add("]");
  }

  char text_[400];
  size_t size_ = 0;
};

}  // namespace tandem::detail
