#pragma once
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tandem/core/by_name.h"
#include "tandem/core/tensor.h"

/// The ONNX file format as plain structs: what a file says, and nothing of what it means. Names
/// follow onnx.proto of ONNX 1.22 (IR version 13). Left out when read: quantization annotations,
/// device configurations, opaque types, and fields that are not in that version.
namespace tandem::onnx {

/// TensorProto.DataType.
enum class ElementType : int32_t {
  undefined,
  float32,
  uint8,
  int8,
  uint16,
  int16,
  int32,
  int64,
  string,
  boolean,
  float16,
  float64,
  uint32,
  uint64,
  complex64,
  complex128,
  bfloat16,
  float8e4m3fn,
  float8e4m3fnuz,
  float8e5m2,
  float8e5m2fnuz,
  uint4,
  int4,
  float4e2m1,
  float8e8m0,
  uint2,
  int2
};
/// "FLOAT", as ONNX writes it; "type 99" for a number that it does not have.
TANDEM_API std::string name(ElementType type);
/// The dtype of exactly these elements, if Tandem has one.
TANDEM_API std::optional<DType> to_dtype(ElementType type);
/// The dtype that holds their values exactly: f32 for 4- and 8-bit floats, i8 or u8 for integers of
/// fewer than 8 bits, else `to_dtype`.
TANDEM_API std::optional<DType> held_in(ElementType type);
TANDEM_API ElementType to_element_type(DType dtype);

using Metadata = std::vector<std::pair<std::string, std::string>>;

/// TensorProto: an initializer, or the value of an attribute. Wherever the bytes lay (raw, in typed
/// fields, in another file), they end up in one of `tensor`, `strings` and `raw`.
struct TANDEM_API TensorData {
  std::string name = {}, doc = {};
  ElementType type = ElementType::undefined;
  std::vector<int64_t> dims = {};
  Tensor tensor = {};                     ///< when Tandem has the dtype and so many dimensions
  std::vector<std::string> strings = {};  ///< when `type` is string
  std::string raw = {};  ///< else: little-endian bytes, small types packed as in ONNX
  Metadata metadata = {};

  static TensorData of(std::string name, const Tensor& t);
  /// As elements that Tandem has no dtype for, see `held_in`. Errors: DTypeError, ValueError for
  /// numbers that they cannot hold.
  static TensorData of(std::string name, const Tensor& t, ElementType type);
  /// `tensor`, or the values of narrow elements as `held_in` says. Errors: DTypeError, ShapeError
  /// for more than 8 dimensions.
  Tensor value() const;
};

/// SparseTensorProto.
struct SparseTensor {
  TensorData values = {}, indices = {};
  std::vector<int64_t> dims = {};
};

/// One size of a shape: a number, a name, or neither.
struct Dim {
  int64_t value = -1;      ///< -1: not known
  std::string param = {};  ///< "batch"; the same name is the same number everywhere in a graph
  std::string denotation = {};
};

/// TypeProto.
struct Type {
  enum class Kind { none, tensor, sparse_tensor, sequence, optional, map };
  Kind kind = Kind::none;
  ElementType element = ElementType::undefined;  ///< of a tensor; of the keys of a map
  std::optional<std::vector<Dim>> shape = {};    ///< of a tensor; without: of any rank
  std::vector<Type> inner = {};                  ///< one: what a sequence, optional or map holds
  std::string denotation = {};
};

/// ValueInfoProto: an input, an output or a value in between.
struct ValueInfo {
  std::string name = {};
  Type type = {};
  std::string doc = {};
  Metadata metadata = {};
};

struct Graph;

/// AttributeProto. `type` says which member holds the value; tensor, graph, sparse_tensor and
/// type_proto are the one element of their list.
struct TANDEM_API Attribute {
  enum class Type : int32_t {
    undefined,
    real,
    integer,
    string,
    tensor,
    graph,
    reals,
    integers,
    strings,
    tensors,
    graphs,
    sparse_tensor,
    sparse_tensors,
    type_proto,
    type_protos
  };
  std::string name;
  Type type = Type::undefined;
  float f = 0;
  int64_t i = 0;
  std::string s;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::vector<TensorData> tensors;
  std::vector<Graph> graphs;
  std::vector<SparseTensor> sparse_tensors;
  std::vector<onnx::Type> types;
  std::string reference;  ///< in a function: the function's attribute that gives the value
  std::string doc;

  // Elsewhere, where Graph is complete.
  Attribute();
  ~Attribute();
  Attribute(const Attribute&);
  Attribute& operator=(const Attribute&);
  Attribute(Attribute&&) noexcept;
  Attribute& operator=(Attribute&&) noexcept;

  static Attribute of(std::string name, float v);
  static Attribute of(std::string name, std::string v);
  static Attribute of(std::string name, std::vector<float> v);
  static Attribute of(std::string name, std::vector<int64_t> v);
  static Attribute of(std::string name, std::vector<std::string> v);
  static Attribute of(std::string name, const Tensor& v);
  static Attribute of(std::string name, Graph v);
  template <std::integral T>
  static Attribute of(std::string name, T v) {
    return of_integer(std::move(name), int64_t(v));
  }

 private:
  static Attribute of_integer(std::string name, int64_t v);
};

/// NodeProto.
struct TANDEM_API Node {
  std::string op_type = {}, domain = {};  ///< domain "": ONNX's own operators
  std::string name = {};
  std::vector<std::string> inputs = {}, outputs = {};  ///< "": an optional one that is left out
  std::vector<Attribute> attributes = {};
  std::string overload = {}, doc = {};
  Metadata metadata = {};

  /// Null when there is none of that name.
  const Attribute* find(std::string_view attribute) const;
};

/// GraphProto: the model's, or the body of an If, Loop or Scan, which sees the values around it.
struct Graph {
  std::string name = {};
  std::vector<Node> nodes = {};  ///< each after those whose outputs it takes
  std::vector<TensorData> initializers = {};
  std::vector<SparseTensor> sparse_initializers = {};
  std::vector<ValueInfo> inputs = {}, outputs = {}, values = {};
  std::string doc = {};
  Metadata metadata = {};
};

/// OperatorSetIdProto.
struct OperatorSet {
  std::string domain = {};
  int64_t version = 0;
};

/// FunctionProto: an operator made of others.
struct Function {
  std::string name = {}, domain = {}, overload = {};
  std::vector<std::string> inputs = {}, outputs = {};
  std::vector<std::string> attributes = {};  ///< that a caller must give
  std::vector<Attribute> defaults = {};      ///< that a caller may give
  std::vector<Node> nodes = {};
  std::vector<OperatorSet> operator_sets = {};
  std::vector<ValueInfo> values = {};
  std::string doc = {};
  Metadata metadata = {};
};

/// TrainingInfoProto.
struct TrainingInfo {
  std::optional<Graph> initialization = {}, algorithm = {};
  Metadata initialization_binding = {}, update_binding = {};
};

/// ModelProto: a whole file.
struct Model {
  int64_t ir_version = 8;  ///< that of operator set 17
  std::vector<OperatorSet> operator_sets = {};
  std::string producer_name = {}, producer_version = {}, domain = {};
  int64_t model_version = 0;
  Graph graph = {};
  std::vector<Function> functions = {};
  std::vector<TrainingInfo> training = {};
  std::string doc = {};
  Metadata metadata = {};
};

/// Reads a .onnx file; tensors that it keeps in other files lie in those files' mapped memory, and
/// writing to them changes only this process. Errors: IOError with file, byte and rule: bytes that
/// are no protobuf, more than 100 messages inside one another (protobuf's own limit), tensors whose
/// data do not fit their shape, other files outside the model's folder, an ended file.
TANDEM_API Model read_model(const std::string& path);
/// As `read_model`, of bytes in memory. `folder` holds the other files; with none given, tensors in
/// other files are an error. `name` is what errors call the bytes.
TANDEM_API Model parse_model(std::span<const uint8_t> bytes, std::string_view name = "onnx",
                             const std::string& folder = {});
/// Reads one serialised TensorProto, such as the inputs of ONNX's backend tests.
TANDEM_API TensorData read_tensor(const std::string& path);
TANDEM_API TensorData parse_tensor(std::span<const uint8_t> bytes, std::string_view name = "onnx");

struct WriteOptions {
  ByName by_name = ByName();
  /// Initializers of more bytes go to a second file, FILE.data, mapped when read. Unset: none do
  /// while the tensors stay below 1.5 GiB together, else those above 1 KiB (a message may have
  /// 2 GiB at most).
  std::optional<int64_t> external_above = {};
};
/// Writes a .onnx file, and FILE.data when initializers go there: beside the old files first, so
/// that a failed or killed save leaves the old model whole (a new FILE.data beside an old one takes
/// the name FILE.1.data). The messages' fields are in rising order. Errors: IOError; ValueError for
/// texts that are not UTF-8, and for messages of 2 GiB.
TANDEM_API void write_model(const std::string& path, const Model& model, WriteOptions options = {});
/// The bytes of a model, all tensors inside. Errors: ValueError as for `write_model`.
TANDEM_API std::string serialize(const Model& model);
TANDEM_API std::string serialize(const TensorData& tensor);

}  // namespace tandem::onnx
