#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "tandem/core/text.h"

namespace tandem {

/// One attribute of a record: its name and where it lives. A record lists its attributes once, in
/// `static constexpr auto fields = Fields{field("axis", &Softmax::axis)};`; printing, hashing,
/// equality, files and docs come from that list.
template <class O, class M>
struct Field {
  std::string_view name;
  M O::*ptr;
};
template <class O, class M>
constexpr Field<O, M> field(std::string_view name, M O::*ptr) {
  return {name, ptr};
}

/// A list of fields. A std::tuple does as well, but costs a hundred headers 40 % of their compile
/// time: its constructors are constrained, these are not.
template <class... F>
struct Fields;
template <>
struct Fields<> {};
template <class F>
struct Fields<F> {
  F first;
};
template <class F, class... G>
struct Fields<F, G...> {
  constexpr Fields(F f, G... g) : first(f), rest{g...} {}
  F first;
  Fields<G...> rest;
};
template <class... F>
Fields(F...) -> Fields<F...>;

/// f(field, ...) with all fields of the list.
template <class Call, class... Before>
constexpr decltype(auto) apply_fields(Call&& f, const Fields<>&, const Before&... before) {
  return f(before...);
}
template <class Call, class F, class... Before>
constexpr decltype(auto) apply_fields(Call&& f, const Fields<F>& list, const Before&... before) {
  return f(before..., list.first);
}
template <class Call, class F, class G, class... H, class... Before>
constexpr decltype(auto) apply_fields(Call&& f, const Fields<F, G, H...>& list,
                                      const Before&... before) {
  return apply_fields(f, list.rest, before..., list.first);
}
template <class Call, class... F>
constexpr decltype(auto) apply_fields(Call&& f, const std::tuple<F...>& list) {
  return std::apply(f, list);
}

/// Calls `f(name, member)` for every attribute of `op` (const or not).
template <class O, class F>
void for_each_field(O& op, F&& f) {
  apply_fields([&](const auto&... fld) { (f(fld.name, op.*(fld.ptr)), ...); },
               std::remove_const_t<O>::fields);
}

/// Reads or writes attributes without knowing the record's type. The types listed here are all
/// that an attribute may have.
class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  virtual void visit(std::string_view name, bool& v) = 0;
  virtual void visit(std::string_view name, int64_t& v) = 0;
  virtual void visit(std::string_view name, double& v) = 0;
  virtual void visit(std::string_view name, std::string& v) = 0;
  virtual void visit(std::string_view name, DType& v) = 0;
  virtual void visit(std::string_view name, Shape& v) = 0;
  virtual void visit(std::string_view name, std::optional<int64_t>& v) = 0;
  virtual void visit(std::string_view name, std::optional<double>& v) = 0;
  // Lengths and what was calculated of them; visitors that know no unknown ones see numbers.
  virtual void visit(std::string_view name, Length& v) {
    int64_t n = v;
    visit(name, n);
    v = n;
  }
  virtual void visit(std::string_view name, Number& v) {
    double x = v;
    visit(name, x);
    v = x;
  }
  virtual void visit(std::string_view name, std::optional<Length>& v) {
    std::optional<int64_t> n;
    if (v) n = int64_t(*v);
    visit(name, n);
    v = n;
  }
  virtual void visit(std::string_view name, std::optional<Number>& v) {
    std::optional<double> x;
    if (v) x = double(*v);
    visit(name, x);
    v = x;
  }
};

namespace detail {

template <class T>
void append(std::string& s, const std::optional<T>& v) {
  if (v) append(s, *v);
  else s += "none";
}

constexpr uint64_t mix(uint64_t h, uint64_t v) {  // the finaliser of splitmix64
  h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  return h ^ (h >> 31);
}
inline uint64_t hash_value(bool v) { return v; }
inline uint64_t hash_value(int64_t v) { return uint64_t(v); }
inline uint64_t hash_value(double v) { return std::bit_cast<uint64_t>(v); }
inline uint64_t hash_value(DType v) { return uint64_t(v); }
inline uint64_t hash_value(const std::string& v) { return std::hash<std::string>{}(v); }
inline uint64_t hash_value(Length v) { return uint64_t(v.bits()); }
inline uint64_t hash_value(Number v) {
  return v.is_known() ? hash_value(double(v)) : uint64_t(v.expression());
}
inline uint64_t hash_value(const Shape& v) {
  uint64_t h = uint64_t(v.size());
  for (Length d : v) h = mix(h, hash_value(d));
  return h;
}
template <class T>
uint64_t hash_value(const std::optional<T>& v) {
  return v ? mix(1, hash_value(*v)) : 0;
}

// Equality for plan caches and common subexpressions: a NaN attribute equals itself.
template <class T>
bool same(const T& a, const T& b) {
  return a == b;
}
inline bool same(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}
// Expressions of unknown lengths are equal when they have one form.
inline bool same(Length a, Length b) { return a.bits() == b.bits(); }
inline bool same(Number a, Number b) {
  if (!a.is_known() || !b.is_known()) return a.expression() == b.expression();
  return same(double(a), double(b));
}
inline bool same(const Shape& a, const Shape& b) { return identical(a, b); }
template <class T>
bool same(const std::optional<T>& a, const std::optional<T>& b) {
  return a.has_value() == b.has_value() && (!a || same(*a, *b));
}

}  // namespace detail

/// "softmax(axis=2)"
template <class O>
std::string print(const O& op) {
  std::string s(O::name);
  s += '(';
  bool first = true;
  for_each_field(op, [&](std::string_view name, const auto& v) {
    if (!first) s += ", ";
    first = false;
    s += name;
    s += '=';
    detail::append(s, v);
  });
  return s + ")";
}

}  // namespace tandem
