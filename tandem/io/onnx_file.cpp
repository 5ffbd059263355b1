#include "tandem/io/onnx_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tandem/core/error.h"
#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_fields.h"

namespace tandem::onnx {

namespace {

struct TypeRow {
  std::string_view name;
  int bits;
  int dtype;  // -1: Tandem has none
};
constexpr TypeRow types[] = {{"UNDEFINED", 0, -1},
                             {"FLOAT", 32, int(f32)},
                             {"UINT8", 8, int(u8)},
                             {"INT8", 8, int(i8)},
                             {"UINT16", 16, int(u16)},
                             {"INT16", 16, int(i16)},
                             {"INT32", 32, int(i32)},
                             {"INT64", 64, int(i64)},
                             {"STRING", 0, -1},
                             {"BOOL", 8, int(boolean)},
                             {"FLOAT16", 16, int(f16)},
                             {"DOUBLE", 64, int(f64)},
                             {"UINT32", 32, int(u32)},
                             {"UINT64", 64, int(u64)},
                             {"COMPLEX64", 64, -1},
                             {"COMPLEX128", 128, -1},
                             {"BFLOAT16", 16, int(bf16)},
                             {"FLOAT8E4M3FN", 8, -1},
                             {"FLOAT8E4M3FNUZ", 8, -1},
                             {"FLOAT8E5M2", 8, -1},
                             {"FLOAT8E5M2FNUZ", 8, -1},
                             {"UINT4", 4, -1},
                             {"INT4", 4, -1},
                             {"FLOAT4E2M1", 4, -1},
                             {"FLOAT8E8M0", 8, -1},
                             {"UINT2", 2, -1},
                             {"INT2", 2, -1}};
constexpr int type_count = int(std::size(types));

const TypeRow& row(ElementType type) {
  const int i = int(type);
  return types[i >= 0 && i < type_count ? i : 0];
}

/// How the bits of a narrow float are laid out.
struct NarrowFloat {
  int exponent_bits, mantissa_bits, bias;
  enum class Special { none, infinity, all_ones, negative_zero } special;
};
std::optional<NarrowFloat> narrow_float(ElementType type) {
  using S = NarrowFloat::Special;
  switch (type) {
    case ElementType::float8e4m3fn: return NarrowFloat{4, 3, 7, S::all_ones};
    case ElementType::float8e4m3fnuz: return NarrowFloat{4, 3, 8, S::negative_zero};
    case ElementType::float8e5m2: return NarrowFloat{5, 2, 15, S::infinity};
    case ElementType::float8e5m2fnuz: return NarrowFloat{5, 2, 16, S::negative_zero};
    case ElementType::float4e2m1: return NarrowFloat{2, 1, 1, S::none};
    default: return {};
  }
}

float widened(const NarrowFloat& f, unsigned bits) {
  using S = NarrowFloat::Special;
  const unsigned sign = bits >> (f.exponent_bits + f.mantissa_bits);
  const unsigned exponent = bits >> f.mantissa_bits & ((1u << f.exponent_bits) - 1);
  const unsigned mantissa = bits & ((1u << f.mantissa_bits) - 1);
  const unsigned last = (1u << f.exponent_bits) - 1;
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  if (f.special == S::negative_zero && sign && !exponent && !mantissa) return nan;
  if (f.special == S::all_ones && exponent == last && mantissa + 1 == 1u << f.mantissa_bits)
    return nan;
  if (f.special == S::infinity && exponent == last)
    return mantissa ? nan : sign ? -HUGE_VALF : HUGE_VALF;
  const unsigned whole = mantissa + (exponent ? 1u << f.mantissa_bits : 0);
  const float v = std::ldexp(float(whole), int(exponent ? exponent : 1) - f.bias - f.mantissa_bits);
  return sign ? -v : v;
}

template <class T, class F>
Tensor unpacked(const std::string& raw, const Shape& shape, int bits, const F& f) {
  Tensor t = empty(shape, dtype_of<T>);
  T* to = t.template data<T>();
  const int each = 8 / bits;
  for (int64_t i = 0; i < t.numel(); ++i)
    to[i] = f(unsigned(uint8_t(raw[size_t(i / each)])) >> (i % each * bits) & ((1u << bits) - 1));
  return t;
}

template <class T>
Attribute make(std::string name, Attribute::Type type, T Attribute::*member, T v) {
  Attribute a;
  a.name = std::move(name);
  a.type = type;
  a.*member = std::move(v);
  return a;
}

}  // namespace

size_t wire::single_values(const Attribute& a) {
  switch (a.type) {
    case Attribute::Type::tensor: return a.tensors.size();
    case Attribute::Type::graph: return a.graphs.size();
    case Attribute::Type::sparse_tensor: return a.sparse_tensors.size();
    case Attribute::Type::type_proto: return a.types.size();
    default: return 1;
  }
}

int wire::bits(ElementType type) { return row(type).bits; }

std::string name(ElementType type) {
  const bool known = int(type) >= 0 && int(type) < type_count;
  return known ? std::string(row(type).name) : cat("type ", int(type));
}

std::optional<DType> to_dtype(ElementType type) {
  const int d = row(type).dtype;
  return d < 0 ? std::nullopt : std::optional(DType(d));
}

std::optional<DType> held_in(ElementType type) {
  switch (type) {
    case ElementType::uint4:
    case ElementType::uint2: return u8;
    case ElementType::int4:
    case ElementType::int2: return i8;
    case ElementType::float8e8m0: return f32;
    default: return narrow_float(type) ? f32 : to_dtype(type);
  }
}

ElementType to_element_type(DType dtype) {
  const auto* found = std::find_if(std::begin(types), std::end(types),
                                   [&](const TypeRow& r) { return r.dtype == int(dtype); });
  return ElementType(found - types);
}

TensorData TensorData::of(std::string name, const Tensor& t) {
  TensorData d;
  d.name = std::move(name);
  d.type = to_element_type(t.dtype());
  d.dims.assign(t.shape().begin(), t.shape().end());
  d.tensor = t;
  return d;
}

TensorData TensorData::of(std::string name, const Tensor& t, ElementType type) {
  if (to_dtype(type) == t.dtype()) return of(std::move(name), t);
  require<DTypeError>(held_in(type) == t.dtype() && !to_dtype(type), "onnx tensor ", name, ": ",
                      t.dtype(), " does not hold ", [&] { return onnx::name(type); });
  TensorData d;
  d.name = std::move(name);
  d.type = type;
  d.dims.assign(t.shape().begin(), t.shape().end());
  // Every pattern of bits has a value: the table is that of `value()`.
  const int bits = row(type).bits, each = 8 / bits, patterns = 1 << bits;
  TensorData table;
  table.type = type;
  table.dims = {patterns};
  table.raw.resize(size_t(patterns / each));
  for (int i = 0; i < patterns; ++i)
    table.raw[size_t(i / each)] = char(uint8_t(table.raw[size_t(i / each)]) | i << i % each * bits);
  const std::vector<double> values = table.value().to_vector<double>(), all = t.to_vector<double>();
  d.raw.resize((all.size() + size_t(each) - 1) / size_t(each));
  for (size_t i = 0; i < all.size(); ++i) {
    const double v = all[i];
    const auto same = [v](double w) {
      return v != v ? w != w : v == w && std::signbit(v) == std::signbit(w);
    };
    const auto found = std::find_if(values.begin(), values.end(), same);
    require<ValueError>(found != values.end(), "onnx tensor ", d.name, ": ", v, " is no number of ",
                        [&] { return onnx::name(type); });
    char& byte = d.raw[i / size_t(each)];
    byte = char(uint8_t(byte) | (found - values.begin()) << i % size_t(each) * size_t(bits));
  }
  return d;
}

Tensor TensorData::value() const {
  if (tensor.defined()) return tensor;
  require<ShapeError>(dims.size() <= max_dims, "onnx tensor ", name, ": ", dims.size(),
                      " dimensions, more than ", max_dims);
  require<DTypeError>(held_in(type).has_value() && !to_dtype(type), "onnx tensor ", name,
                      ": Tandem has no dtype for ", [&] { return onnx::name(type); });
  const Shape shape{std::span<const int64_t>(dims)};
  const int bits = row(type).bits, each = 8 / bits;
  require<ValueError>(int64_t(raw.size()) == (shape.numel() + each - 1) / each, "onnx tensor ",
                      name, ": ", raw.size(), " bytes of data for shape ", shape, " of ",
                      [&] { return onnx::name(type); });
  if (const auto f = narrow_float(type))
    return unpacked<float>(raw, shape, bits, [&](unsigned v) { return widened(*f, v); });
  if (type == ElementType::float8e8m0)
    return unpacked<float>(raw, shape, bits, [](unsigned v) {
      return v == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, int(v) - 127);
    });
  if (held_in(type) == u8)
    return unpacked<uint8_t>(raw, shape, bits, [](unsigned v) { return uint8_t(v); });
  const int half = 1 << (bits - 1);
  return unpacked<int8_t>(raw, shape, bits,
                          [=](unsigned v) { return int8_t((int(v) ^ half) - half); });
}

Attribute::Attribute() = default;
Attribute::~Attribute() = default;
Attribute::Attribute(const Attribute&) = default;
Attribute& Attribute::operator=(const Attribute&) = default;
Attribute::Attribute(Attribute&&) noexcept = default;
Attribute& Attribute::operator=(Attribute&&) noexcept = default;

Attribute Attribute::of(std::string name, float v) {
  return make(std::move(name), Type::real, &Attribute::f, v);
}
Attribute Attribute::of_integer(std::string name, int64_t v) {
  return make(std::move(name), Type::integer, &Attribute::i, v);
}
Attribute Attribute::of(std::string name, std::string v) {
  return make(std::move(name), Type::string, &Attribute::s, std::move(v));
}
Attribute Attribute::of(std::string name, std::vector<float> v) {
  return make(std::move(name), Type::reals, &Attribute::floats, std::move(v));
}
Attribute Attribute::of(std::string name, std::vector<int64_t> v) {
  return make(std::move(name), Type::integers, &Attribute::ints, std::move(v));
}
Attribute Attribute::of(std::string name, std::vector<std::string> v) {
  return make(std::move(name), Type::strings, &Attribute::strings, std::move(v));
}
Attribute Attribute::of(std::string name, const Tensor& v) {
  return make(std::move(name), Type::tensor, &Attribute::tensors, {TensorData::of({}, v)});
}
Attribute Attribute::of(std::string name, Graph v) {
  Attribute a;
  a.name = std::move(name);
  a.type = Type::graph;
  a.graphs.push_back(std::move(v));
  return a;
}

const Attribute* Node::find(std::string_view attribute) const {
  for (const Attribute& a : attributes)
    if (a.name == attribute) return &a;
  return nullptr;
}

}  // namespace tandem::onnx
