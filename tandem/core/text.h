#pragma once
#include <concepts>
#include <string>
#include <string_view>

#include "tandem/core/device.h"
#include "tandem/core/dtype.h"
#include "tandem/core/shape.h"

namespace tandem {

struct Spec;

namespace detail {
TANDEM_API void append(std::string& s, const Spec& v);
TANDEM_API void append(std::string& s, double v);
TANDEM_API void append(std::string& s, int64_t v);
inline void append(std::string& s, std::string_view v) { s += v; }
inline void append(std::string& s, const std::string& v) { s += v; }
inline void append(std::string& s, const char* v) { s += v; }
inline void append(std::string& s, char v) { s += v; }
inline void append(std::string& s, bool v) { s += v ? "true" : "false"; }
inline void append(std::string& s, DType v) { s += name(v); }
inline void append(std::string& s, Device v) { s += to_string(v); }
inline void append(std::string& s, const Shape& v) { s += to_string(v); }
template <std::integral T>
void append(std::string& s, T v) {
  append(s, int64_t(v));
}
/// A function that makes a text: for what is costly and, as a rule, not read.
template <class F>
requires requires(const F& f) { f(); }
void append(std::string& s, const F& f) { append(s, f()); }
}  // namespace detail

/// Concatenates the text of its arguments: numbers print as short as they round-trip.
template <class... A>
std::string cat(const A&... a) {
  std::string s;
  (detail::append(s, a), ...);
  return s;
}

}  // namespace tandem
