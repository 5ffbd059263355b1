#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <protozero/pbf_reader.hpp>

#include "tandem/core/error.h"
#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_fields.h"
#include "tandem/io/file.h"
#include "tandem/io/onnx_file.h"

namespace tandem::onnx {

namespace {

using protozero::data_view;
using protozero::pbf_reader;
using protozero::pbf_wire_type;
using tandem::detail::Source;

constexpr int most_nested = 100;  // protobuf's own limit
constexpr int64_t most_parts = 1 << 22;
constexpr uint64_t most_bytes = 0x7FFFFFFF;  // protobuf's own limit

/// Whether a path of another file stays inside the model's folder.
bool stays_inside(std::string_view path) {
  if (path.empty() || path[0] == '/' || path.find('\0') != path.npos) return false;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find_first_of("/\\", at), path.size());
    if (path.substr(at, end - at) == "..") return false;
    at = end + 1;
  }
  return true;
}

/// The path without links, ending with a slash; empty when there is nothing.
std::string real_path(const std::string& path) {
  std::error_code code;
  const std::string real = std::filesystem::canonical(path, code).string();
  return code ? std::string() : real + "/";
}

bool to_number(const std::string& text, uint64_t& out) {
  out = 0;
  for (char c : text) {
    if (c < '0' || c > '9' || out > (std::numeric_limits<uint64_t>::max() - 9) / 10) return false;
    out = out * 10 + uint64_t(c - '0');
  }
  return !text.empty();
}

template <class T>
void append_bytes(std::string& to, const T* values, size_t count) {
  to.append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

class Reader {
 public:
  /// `real_folder`: where the model lies when its path is a link.
  Reader(const Source& source, std::string folder, std::string real_folder = {})
      : source_(source), folder_(std::move(folder)), real_folder_(std::move(real_folder)) {}

  template <class M>
  void whole(M& m) {
    source_.check(source_.bytes.size() <= most_bytes, 0, source_.bytes.size(),
                  " bytes, more than a protobuf message may have (", most_bytes, ")");
    message(data_view(reinterpret_cast<const char*>(source_.bytes.data()), source_.bytes.size()),
            m);
  }

 private:
  /// Hands the field that the wire has next to the member with its number.
  struct Field {
    Reader& reader;
    pbf_reader& in;
    uint32_t number;
    uint64_t at;
    bool taken = false;

    template <class T>
    void operator()(uint32_t n, T& member) {
      if (n != number) return;
      taken = true;
      reader.value(*this, member);
    }
    template <class T>
    void only(uint32_t n, bool, T& member) {
      (*this)(n, member);
    }
    template <class T>
    void bytes(uint32_t n, bool, T& member) {
      (*this)(n, member);
    }
    template <class P>
    void part(uint32_t n, bool, P p) {
      if (n != number) return;
      taken = true;
      p.begin();
      reader.message(reader.view(*this), p);
    }
    void need(pbf_wire_type type) const {
      reader.source_.check(in.has_wire_type(type), at, "field ", number, " has wire type ",
                           int(in.wire_type()), ", not ", int(type));
    }
  };

  uint64_t offset(const char* p) const {
    return uint64_t(p - reinterpret_cast<const char*>(source_.bytes.data()));
  }

  template <class M>
  void message(data_view bytes, M& m) {
    const uint64_t start = offset(bytes.data());
    source_.check(++depth_ <= most_nested, start, "more than ", most_nested,
                  " messages inside one another");
    count(start);
    uint64_t at = start;
    uint32_t filled = 0;  // of an attribute: the last field that held a value
    try {
      pbf_reader in(bytes);
      for (;;) {
        at = offset(in.data().data());
        if (!in.next()) break;
        Field field{*this, in, in.tag(), at};
        wire::fields(field, m);
        if (!field.taken) in.skip();
        if constexpr (std::is_same_v<M, Attribute>) filled = value_field(field.number, filled);
      }
    } catch (const protozero::exception& e) {
      source_.fail(at, cat("not a protobuf message: ", e.what()));
    }
    if constexpr (std::is_same_v<M, Attribute>) finish(m, filled, start);
    if constexpr (std::is_same_v<M, SparseTensor>)
      source_.check(
          m.values.type != ElementType::undefined && m.indices.type != ElementType::undefined,
          start, "a sparse tensor without values or indices");
    --depth_;
  }
  void message(data_view bytes, TensorData& t) {
    wire::RawTensor raw;
    message(bytes, raw);
    convert(raw, offset(bytes.data()), t);
  }

  /// Messages and texts: what a file can ask memory for many times its own size.
  void count(uint64_t at) {
    source_.check(++parts_ <= most_parts, at, "more than ", most_parts, " messages and texts");
  }

  /// `get_view` would cut a length to 32 bits.
  data_view view(const Field& f) const {
    f.need(pbf_wire_type::length_delimited);
    const data_view rest = f.in.data();
    const char* p = rest.data();
    const char* end = p + rest.size();
    const uint64_t length = protozero::decode_varint(&p, end);
    source_.check(
        length <= uint64_t(end - p), f.at, "field ", f.number,
        [&] { return length > uint64_t(INT64_MAX) ? " of over 2^63" : cat(" of ", length); },
        " bytes passes the end of its message");
    return f.in.get_view();
  }
  uint64_t varint(const Field& f) const {
    f.need(pbf_wire_type::varint);
    return f.in.get_uint64();
  }

  void value(const Field& f, int64_t& v) { v = int64_t(varint(f)); }
  void value(const Field& f, float& v) {
    f.need(pbf_wire_type::fixed32);
    v = f.in.get_float();
  }
  template <class E>
  requires std::is_enum_v<E>
  void value(const Field& f, E& v) { v = E(int32_t(varint(f))); }
  void value(const Field& f, std::string& v) {
    const data_view bytes = view(f);
    v.assign(bytes.data(), bytes.size());
  }
  void value(const Field& f, std::optional<std::string_view>& v) {
    const data_view bytes = view(f);
    v.emplace(bytes.data(), bytes.size());
  }
  template <class M>
  requires std::is_class_v<M>
  void value(const Field& f, M& m) { message(view(f), m); }
  template <class T>
  void value(const Field& f, std::vector<T>& list) {
    if constexpr (std::is_floating_point_v<T>) {
      constexpr auto single = sizeof(T) == 4 ? pbf_wire_type::fixed32 : pbf_wire_type::fixed64;
      if (!f.in.has_wire_type(pbf_wire_type::length_delimited)) {
        f.need(single);
        if constexpr (sizeof(T) == 4) list.push_back(f.in.get_float());
        else list.push_back(f.in.get_double());
        return;
      }
      const data_view bytes = view(f);
      source_.check(bytes.size() % sizeof(T) == 0, f.at, "field ", f.number, " of ", bytes.size(),
                    " bytes does not hold whole numbers of ", sizeof(T), " bytes");
      const size_t old = list.size();
      list.resize(old + bytes.size() / sizeof(T));
      if (!bytes.empty()) std::memcpy(list.data() + old, bytes.data(), bytes.size());
    } else if constexpr (std::is_integral_v<T>) {
      if (f.in.has_wire_type(pbf_wire_type::varint)) {
        list.push_back(T(f.in.get_uint64()));
        return;
      }
      const data_view bytes = view(f);
      const char* p = bytes.data();
      for (const char* end = p + bytes.size(); p != end;)
        list.push_back(T(protozero::decode_varint(&p, end)));
    } else {
      if constexpr (std::is_same_v<T, std::string>) count(f.at);
      value(f, list.emplace_back());
    }
  }

  /// Files of IR version 1 give attributes no type; the field that holds the value tells it.
  static uint32_t value_field(uint32_t number, uint32_t before) {
    const bool holds = (number >= 2 && number <= 11) || number == 14 || number == 15 ||
                       number == 22 || number == 23;
    return holds ? number : before;
  }
  void finish(Attribute& a, uint32_t filled, uint64_t at) const {
    using enum Attribute::Type;
    static constexpr Attribute::Type of_field[] = {
        undefined, undefined, real,       integer,     string,        tensor,
        graph,     reals,     integers,   strings,     tensors,       graphs,
        undefined, undefined, type_proto, type_protos, undefined,     undefined,
        undefined, undefined, undefined,  undefined,   sparse_tensor, sparse_tensors};
    if (a.type == undefined) a.type = of_field[filled];
    source_.check(a.type > undefined && a.type <= type_protos, at, "attribute ", a.name, ": type ",
                  int(a.type), " is none of ONNX");
    if (!a.reference.empty()) return;
    const size_t count = wire::single_values(a);
    source_.check(count == 1, at, "attribute ", a.name, ": its type says one value, it has ",
                  count);
  }

  void convert(wire::RawTensor& in, uint64_t at, TensorData& t) {
    t = {};
    t.name = std::move(in.name);
    t.doc = std::move(in.doc);
    t.type = in.type;
    t.dims = std::move(in.dims);
    t.metadata = std::move(in.metadata);
    const auto check = [&](bool ok, const auto&... a) {
      if (!ok) source_.fail(at, cat("tensor ", t.name, ": ", a...));
    };
    check(!in.segment, "tensors in segments cannot be read");
    int64_t count = 1;
    bool zero = false;
    for (int64_t d : t.dims) {
      check(d >= 0, "a size of ", d);
      check(d == 0 || count <= (int64_t(1) << 55) / d, "too many elements");
      zero |= d == 0;
      if (d > 0) count *= d;
    }
    if (zero) count = 0;
    if (t.type == ElementType::string) {
      check(in.location == 0 && !in.raw, "strings must lie in string_data");
      check(int64_t(in.strings.size()) == count, count, " elements, ", in.strings.size(),
            " strings");
      t.strings = std::move(in.strings);
      return;
    }
    const int bits = wire::bits(t.type);
    check(bits > 0, "element type ", onnx::name(t.type), " is none of ONNX");
    const uint64_t bytes = (uint64_t(count) * uint64_t(bits) + 7) / 8;
    std::string made;
    std::string_view data;
    std::shared_ptr<MappedFile> other;
    if (in.location == 1) {
      data = external(in, bytes, other, check);
    } else if (in.raw) {
      data = *in.raw;
    } else {
      made = typed(in, t.type, bits, size_t(bytes), check);
      data = made;
    }
    check(data.size() == bytes, count, " elements of ", onnx::name(t.type), " need ", bytes,
          " bytes, its data have ", data.size());
    const std::optional<DType> dtype = to_dtype(t.type);
    if (!dtype || t.dims.size() > max_dims) {
      t.raw = made.empty() ? std::string(data) : std::move(made);
      return;
    }
    const std::span<const uint8_t> span(reinterpret_cast<const uint8_t*>(data.data()), data.size());
    t.tensor = tandem::detail::tensor_from({span, source_.name, other}, 0,
                                           Shape{std::span<const int64_t>(t.dims)}, *dtype);
  }

  /// The elements' bytes from the field that their type belongs in.
  template <class Check>
  std::string typed(const wire::RawTensor& in, ElementType type, int bits, size_t bytes,
                    const Check& check) const {
    std::string out;
    using enum ElementType;
    if (type == float32 || type == complex64) {
      append_bytes(out, in.floats.data(), in.floats.size());
    } else if (type == float64 || type == complex128) {
      append_bytes(out, in.doubles.data(), in.doubles.size());
    } else if (type == int64) {
      append_bytes(out, in.longs.data(), in.longs.size());
    } else if (type == uint64) {
      append_bytes(out, in.unsigneds.data(), in.unsigneds.size());
    } else if (type == uint32) {
      for (uint64_t v : in.unsigneds) {
        check(v <= std::numeric_limits<uint32_t>::max(), "the value ", int64_t(v),
              " does not fit 32 bits");
        const auto low = uint32_t(v);
        append_bytes(out, &low, 1);
      }
    } else {  // small ones lie one to an int32, those below a byte packed to bytes first
      const int each = std::max(bits, 8);
      const int64_t least = -(int64_t(1) << (each - 1)), most = int64_t(1) << each;
      check(in.ints.size() == bytes / size_t(each / 8), "its int32_data hold ", in.ints.size(),
            " values, not ", bytes / size_t(each / 8));
      out.reserve(bytes);
      for (int32_t v : in.ints) {
        check(v >= least && v < most, "the value ", v, " does not fit ", each, " bits");
        out.append(reinterpret_cast<const char*>(&v), size_t(each / 8));
      }
    }
    return out;
  }

  template <class Check>
  std::string_view external(const wire::RawTensor& in, uint64_t bytes,
                            std::shared_ptr<MappedFile>& file, const Check& check) {
    std::string location;
    uint64_t start = 0, length = bytes;
    for (const auto& [key, text] : in.external) {
      if (key == "location") location = text;
      if (key == "offset") check(to_number(text, start), "its offset is no number: ", text);
      if (key == "length") check(to_number(text, length), "its length is no number: ", text);
    }
    check(stays_inside(location), "its data lie in \"", location,
          "\", which is no path inside the model's folder");
    check(!folder_.empty(), "its data lie in the file ", location, ", and no folder was given");
    auto& known = files_[location];
    if (!known) {
      const std::string path = cat(folder_, folder_.ends_with('/') ? "" : "/", location);
      check(leads_inside(path), "its data lie in ", location, ", a link that leaves the folder");
      known = MappedFile::open(path);
    }
    file = known;
    const uint64_t size = file->bytes().size();
    check(start <= size && length <= size - start, "its data end at byte ", int64_t(start + length),
          " of ", location, ", which has ", size);
    return {reinterpret_cast<const char*>(file->bytes().data()) + start, size_t(length)};
  }

  /// Whether links lead to a file in the model's folder, or in that of the model's own link.
  bool leads_inside(const std::string& path) const {
    const std::string real = real_path(path);
    if (real.empty()) return true;  // opening it says what is wrong
    for (const std::string& folder : {real_path(folder_), real_folder_})
      if (!folder.empty() && real.starts_with(folder)) return true;
    return false;
  }

  const Source& source_;
  const std::string folder_, real_folder_;
  std::map<std::string, std::shared_ptr<MappedFile>> files_;
  int depth_ = 0;
  int64_t parts_ = 0;
};

Model model_of(const Source& source, const std::string& folder, std::string real_folder = {}) {
  Model m;
  m.ir_version = 0;
  Reader(source, folder, std::move(real_folder)).whole(m);
  source.check(m.ir_version > 0, 0, "no ir_version: this is no ONNX model");
  return m;
}

TensorData tensor_of(const Source& source) {
  TensorData t;
  Reader(source, {}).whole(t);
  return t;
}

}  // namespace

Model read_model(const std::string& path) {
  const auto file = MappedFile::open(path);
  const size_t slash = path.rfind('/');
  const std::string name = cat("read_model(", path, ")");
  std::string real = real_path(path);  // PATH/
  real.resize(real.empty() ? 0 : real.rfind('/', real.size() - 2) + 1);
  return model_of({file->bytes(), name}, slash == path.npos ? "." : path.substr(0, slash + 1),
                  std::move(real));
}

Model parse_model(std::span<const uint8_t> bytes, std::string_view name,
                  const std::string& folder) {
  return model_of({bytes, name}, folder);
}

TensorData read_tensor(const std::string& path) {
  const auto file = MappedFile::open(path);
  const std::string name = cat("read_tensor(", path, ")");
  return tensor_of({file->bytes(), name});
}

TensorData parse_tensor(std::span<const uint8_t> bytes, std::string_view name) {
  return tensor_of({bytes, name});
}

}  // namespace tandem::onnx
