#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "tandem/core/named_tensors.h"
#include "tandem/op/fields.h"

namespace tandem::nn {

class ModuleBase;

/// A member that is state but not trained, `buffer("running_mean", &BatchNorm2d::running_mean)`.
template <class O>
struct BufferField {
  std::string_view name;
  Tensor O::*ptr;
  bool persistent;  ///< part of the state_dict
};
template <class O>
constexpr BufferField<O> buffer(std::string_view name, Tensor O::*ptr, bool persistent = true) {
  return {name, ptr, persistent};
}

/// Parameters whose names are made at run time; under an empty field name they stand as if they
/// were members themselves.
using ParameterDict = NamedTensors;

/// Receives the members of a module one by one.
class ModuleVisitor {
 public:
  virtual ~ModuleVisitor() = default;
  virtual void parameter(std::string_view name, Tensor& t) = 0;
  virtual void buffer(std::string_view name, Tensor& t, bool persistent) = 0;
  virtual void module(std::string_view name, ModuleBase& m) = 0;
  /// A plain value, as text; called only when `wants_values`.
  virtual void value(std::string_view, const std::string&) {}
  bool wants_values = false;
};

namespace detail {

using tandem::detail::append;
inline void append(std::string& s, const std::vector<int64_t>& v) {
  s += '[';
  for (size_t i = 0; i < v.size(); ++i) append(s += i ? ", " : "", v[i]);
  s += ']';
}

inline std::string join(std::string_view name, std::string_view key) {
  return name.empty() ? std::string(key) : cat(name, ".", key);
}

template <class M>
constexpr bool is_module = std::is_base_of_v<ModuleBase, M>;

/// What a list in a field list may hold: tensors, modules, pointers to modules.
template <class E>
constexpr bool is_element() {
  if constexpr (std::is_same_v<E, Tensor> || is_module<E>) return true;
  else if constexpr (requires(E & e) { *e; })
    return is_module<std::remove_cvref_t<decltype(*std::declval<E&>())>>;
  else return false;
}

template <class M>
void visit_member(ModuleVisitor& v, std::string_view name, M& m) {
  if constexpr (std::is_same_v<M, Tensor>) {
    v.parameter(name, m);
  } else if constexpr (is_module<M>) {
    v.module(name, m);
  } else if constexpr (std::is_same_v<M, ParameterDict>) {
    for (auto& [key, tensor] : m) v.parameter(join(name, key), tensor);
  } else if constexpr (requires {
                         requires is_module<std::remove_cvref_t<decltype(*m)>>;
                         bool(m);
                       }) {
    if (m) visit_member(v, name, *m);
  } else if constexpr (requires {
                         m.size();
                         requires is_element<std::remove_cvref_t<decltype(m[0])>>();
                       }) {
    for (size_t i = 0; i < m.size(); ++i) visit_member(v, join(name, cat(i)), m[i]);
  } else {
    static_assert(
        requires(std::string s) { append(s, m); },
        "a module's field is a Tensor, a buffer(), a module, a vector or optional of "
        "modules, or a plain value");
    if (!v.wants_values) return;
    std::string text;
    append(text, m);
    v.value(name, text);
  }
}

template <class O, class B, class M>
void visit_field(O& o, const Field<B, M>& f, ModuleVisitor& v) {
  visit_member(v, f.name, o.*(f.ptr));
}
template <class O, class B>
void visit_field(O& o, const BufferField<B>& f, ModuleVisitor& v) {
  v.buffer(f.name, o.*(f.ptr), f.persistent);
}

template <class O>
void visit_fields(O& o, ModuleVisitor& v) {
  apply_fields([&](const auto&... f) { (visit_field(o, f, v), ...); }, O::fields);
}

template <class F, class G>
constexpr bool same_member(const F& f, const G& g) {
  if constexpr (std::is_same_v<decltype(f.ptr), decltype(g.ptr)>) return f.ptr == g.ptr;
  else return false;
}
/// Whether the list has no name and no member twice. Names that are empty are made at run time.
template <class O>
constexpr bool lists_each_once() {
  return apply_fields(
      [](const auto&... f) {
        const std::string_view names[] = {f.name..., ""};
        for (size_t i = 0; i < sizeof...(f); ++i)
          for (size_t k = 0; k < i; ++k)
            if (!names[i].empty() && names[i] == names[k]) return false;
        [[maybe_unused]] const auto times = [&](const auto& one) {
          return (int(same_member(one, f)) + ... + 0);
        };
        return ((times(f) == 1) && ...);
      },
      O::fields);
}

/// The unqualified name of T, without template arguments.
template <class T>
std::string type_name() {
  std::string_view s = __PRETTY_FUNCTION__;
  s.remove_prefix(s.find("T = ") + 4);
  s = s.substr(0, s.find_first_of("<;]"));
  if (const size_t colon = s.rfind(':'); colon != s.npos) s.remove_prefix(colon + 1);
  return std::string(s);
}

}  // namespace detail
}  // namespace tandem::nn
