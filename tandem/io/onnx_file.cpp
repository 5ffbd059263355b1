#include "tandem/io/onnx_file.h"

#include <algorithm>
#include <cstring>

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

Tensor TensorData::value() const {
  if (tensor.defined()) return tensor;
  require<ShapeError>(dims.size() <= max_dims, "onnx tensor ", name, ": ", dims.size(),
                      " dimensions, more than ", max_dims);
  throw DTypeError(cat("onnx tensor ", name, ": Tandem has no dtype for ", onnx::name(type)));
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
