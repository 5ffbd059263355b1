#pragma once
// Attributes of records to and from JSON: what op_replay and five_ways read and write.
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "tests/support/fields.h"

namespace tandem::testing {

using Json = nlohmann::ordered_json;

/// What does not follow the format.
struct BadRequest : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline DType dtype_named(const std::string& text) {
  for (int i = 0; i < dtype_count; ++i)
    if (name(DType(i)) == text) return DType(i);
  throw BadRequest(cat("no dtype is called '", text, "'"));
}

/// Numbers that JSON has not are the texts "nan", "inf" and "-inf".
inline Json number_json(double v) {
  if (std::isfinite(v)) return v;
  return std::isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
}
inline double number_of(const Json& j) {
  if (!j.is_string()) return j.get<double>();
  const std::string s = j;
  if (s == "nan") return NAN;
  if (s == "inf") return INFINITY;
  if (s == "-inf") return -INFINITY;
  throw BadRequest(cat("'", s, "' is no number"));
}

inline int64_t integer_of(const Json& j) {
  if (!j.is_number_integer()) throw BadRequest(cat(j.dump(), " is no integer"));
  return j.get<int64_t>();
}

inline Json shape_json(const Shape& s) { return std::vector<int64_t>(s.begin(), s.end()); }
inline Shape shape_of(const Json& j) {
  if (!j.is_array()) throw BadRequest(cat("a list of integers is wanted, not ", j.dump()));
  Shape s;
  for (const Json& v : j) s.push_back(integer_of(v));
  return s;
}

struct FieldToJson {
  Json operator()(bool v) const { return v; }
  Json operator()(int64_t v) const { return v; }
  Json operator()(double v) const { return number_json(v); }
  Json operator()(const std::string& v) const { return v; }
  Json operator()(DType v) const { return std::string(name(v)); }
  Json operator()(const Shape& v) const { return shape_json(v); }
  Json operator()(const std::optional<int64_t>& v) const { return v ? Json(*v) : Json(); }
  Json operator()(const std::optional<double>& v) const { return v ? number_json(*v) : Json(); }
};

/// Reads a value of the type that `v` holds.
struct FieldFromJson {
  const Json& j;
  void operator()(bool& v) const { v = j.get<bool>(); }
  void operator()(int64_t& v) const { v = integer_of(j); }
  void operator()(double& v) const { v = number_of(j); }
  void operator()(std::string& v) const { v = j.get<std::string>(); }
  void operator()(DType& v) const { v = dtype_named(j.get<std::string>()); }
  void operator()(Shape& v) const { v = shape_of(j); }
  void operator()(std::optional<int64_t>& v) const {
    v = j.is_null() ? std::nullopt : std::optional(integer_of(j));
  }
  void operator()(std::optional<double>& v) const {
    v = j.is_null() ? std::nullopt : std::optional(number_of(j));
  }
};

}  // namespace tandem::testing
