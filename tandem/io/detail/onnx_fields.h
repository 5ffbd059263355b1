#pragma once
#include "tandem/io/onnx_file.h"

/// The fields of onnx.proto, once for reader and writer. A visitor `v` is called for every field:
///   v(number, member)              read when met; written unless it is empty or zero
///   v.only(number, when, member)   read when met; written if `when`, empty or not
///   v.bytes(number, when, member)  as `only`, for bytes that need not be UTF-8
///   v.part(number, when, part)     a message that has no struct: `part.begin()`, then its fields
/// Rising numbers make the writer's bytes those of protobuf's own writers.
namespace tandem::onnx::wire {

template <class V>
void fields(V& v, std::pair<std::string, std::string>& x) {  // StringStringEntryProto
  v.only(1, true, x.first);
  v.only(2, true, x.second);
}

/// TensorProto as it lies in the file.
struct RawTensor {
  std::vector<int64_t> dims;
  ElementType type = ElementType::undefined;
  std::vector<float> floats;
  std::vector<int32_t> ints;
  std::vector<std::string> strings;
  std::vector<int64_t> longs;
  std::string name, doc;
  std::optional<std::string_view> raw;
  std::vector<double> doubles;
  std::vector<uint64_t> unsigneds;
  std::optional<std::string_view> segment;
  Metadata external;
  int64_t location = 0;  // 1: external
  Metadata metadata;
};

template <class V>
void fields(V& v, RawTensor& x) {
  v(1, x.dims);
  v.only(2, true, x.type);
  v(3, x.segment);
  v(4, x.floats);
  v(5, x.ints);
  v.bytes(6, !x.strings.empty(), x.strings);
  v(7, x.longs);
  v(8, x.name);
  v(9, x.raw);
  v(10, x.doubles);
  v(11, x.unsigneds);
  v(12, x.doc);
  v(13, x.external);
  v(14, x.location);
  v(16, x.metadata);
}

template <class V>
void fields(V& v, SparseTensor& x) {
  v.only(1, true, x.values);
  v.only(2, true, x.indices);
  v(3, x.dims);
}

template <class V>
void fields(V& v, Dim& x) {
  v.only(1, x.param.empty() && x.value >= 0, x.value);
  v(2, x.param);
  v(3, x.denotation);
}

struct ShapePart {  // TensorShapeProto
  std::optional<std::vector<Dim>>& shape;
  void begin() {
    if (!shape) shape.emplace();
  }
};
template <class V>
void fields(V& v, ShapePart& x) {
  v(1, *x.shape);
}

struct TensorPart {  // TypeProto.Tensor, TypeProto.SparseTensor
  Type& type;
  Type::Kind kind;
  void begin() { type.kind = kind; }
};
template <class V>
void fields(V& v, TensorPart& x) {
  v.only(1, true, x.type.element);
  v.part(2, x.type.shape.has_value(), ShapePart{x.type.shape});
}

struct InnerPart {  // TypeProto.Sequence, TypeProto.Optional
  Type& type;
  Type::Kind kind;
  void begin() { type.kind = kind; }
};
template <class V>
void fields(V& v, InnerPart& x) {
  v(1, x.type.inner);
}

struct MapPart {  // TypeProto.Map
  Type& type;
  void begin() { type.kind = Type::Kind::map; }
};
template <class V>
void fields(V& v, MapPart& x) {
  v.only(1, true, x.type.element);
  v(2, x.type.inner);
}

template <class V>
void fields(V& v, Type& x) {
  using enum Type::Kind;
  v.part(1, x.kind == tensor, TensorPart{x, tensor});
  v.part(4, x.kind == sequence, InnerPart{x, sequence});
  v.part(5, x.kind == map, MapPart{x});
  v(6, x.denotation);
  v.part(8, x.kind == sparse_tensor, TensorPart{x, sparse_tensor});
  v.part(9, x.kind == optional, InnerPart{x, optional});
}

template <class V>
void fields(V& v, ValueInfo& x) {
  v(1, x.name);
  v.only(2, x.type.kind != Type::Kind::none || !x.type.denotation.empty(), x.type);
  v(3, x.doc);
  v(4, x.metadata);
}

template <class V>
void fields(V& v, Attribute& x) {
  using enum Attribute::Type;
  const bool given = x.reference.empty();
  v(1, x.name);
  v.only(2, given && x.type == real, x.f);
  v.only(3, given && x.type == integer, x.i);
  v.bytes(4, given && x.type == string, x.s);
  v.only(5, given && x.type == tensor, x.tensors);
  v.only(6, given && x.type == graph, x.graphs);
  v.only(7, given && x.type == reals, x.floats);
  v.only(8, given && x.type == integers, x.ints);
  v.bytes(9, given && x.type == strings, x.strings);
  v.only(10, given && x.type == tensors, x.tensors);
  v.only(11, given && x.type == graphs, x.graphs);
  v(13, x.doc);
  v.only(14, given && x.type == type_proto, x.types);
  v.only(15, given && x.type == type_protos, x.types);
  v.only(20, true, x.type);
  v(21, x.reference);
  v.only(22, given && x.type == sparse_tensor, x.sparse_tensors);
  v.only(23, given && x.type == sparse_tensors, x.sparse_tensors);
}

template <class V>
void fields(V& v, Node& x) {
  v(1, x.inputs);
  v(2, x.outputs);
  v(3, x.name);
  v(4, x.op_type);
  v(5, x.attributes);
  v(6, x.doc);
  v(7, x.domain);
  v(8, x.overload);
  v(9, x.metadata);
}

template <class V>
void fields(V& v, Graph& x) {
  v(1, x.nodes);
  v(2, x.name);
  v(5, x.initializers);
  v(10, x.doc);
  v(11, x.inputs);
  v(12, x.outputs);
  v(13, x.values);
  v(15, x.sparse_initializers);
  v(16, x.metadata);
}

template <class V>
void fields(V& v, OperatorSet& x) {
  v.only(1, true, x.domain);
  v.only(2, true, x.version);
}

template <class V>
void fields(V& v, Function& x) {
  v(1, x.name);
  v(4, x.inputs);
  v(5, x.outputs);
  v(6, x.attributes);
  v(7, x.nodes);
  v(8, x.doc);
  v(9, x.operator_sets);
  v(10, x.domain);
  v(11, x.defaults);
  v(12, x.values);
  v(13, x.overload);
  v(14, x.metadata);
}

struct GraphPart {
  std::optional<Graph>& graph;
  void begin() {
    if (!graph) graph.emplace();
  }
};
template <class V>
void fields(V& v, GraphPart& x) {
  fields(v, *x.graph);
}

template <class V>
void fields(V& v, TrainingInfo& x) {
  v.part(1, x.initialization.has_value(), GraphPart{x.initialization});
  v.part(2, x.algorithm.has_value(), GraphPart{x.algorithm});
  v(3, x.initialization_binding);
  v(4, x.update_binding);
}

template <class V>
void fields(V& v, Model& x) {
  v.only(1, true, x.ir_version);
  v(2, x.producer_name);
  v(3, x.producer_version);
  v(4, x.domain);
  v(5, x.model_version);
  v(6, x.doc);
  v.only(7, true, x.graph);
  v(8, x.operator_sets);
  v(14, x.metadata);
  v(20, x.training);
  v(25, x.functions);
}

/// How many values an attribute has whose type says one; 1 for the other types.
size_t single_values(const Attribute& a);
/// Bits of an element; 0 for string and undefined.
int bits(ElementType type);

}  // namespace tandem::onnx::wire
