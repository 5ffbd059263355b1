#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <protozero/pbf_writer.hpp>
#include <unordered_map>

#include "tandem/core/error.h"
#include "tandem/io/detail/onnx_fields.h"
#include "tandem/io/detail/utf8.h"
#include "tandem/io/file.h"
#include "tandem/io/onnx_file.h"

namespace tandem::onnx {

namespace {

/// Where bytes go; `head` gathers what protozero makes.
struct Sink {
  std::string head = {};

  virtual ~Sink() = default;
  virtual void append(std::string_view bytes) = 0;
  void flush() {
    append(head);
    head.clear();
  }
};
/// Counts: a message says its length before its content.
struct CountSink final : Sink {
  uint64_t bytes = 0;
  void append(std::string_view more) override { bytes += more.size(); }
};
struct FileSink final : Sink {
  AtomicFile& file;
  explicit FileSink(AtomicFile& f) : file(f) {}
  void append(std::string_view more) override { file.write(more); }
};
struct TextSink final : Sink {
  std::string text = {};
  void append(std::string_view more) override { text += more; }
};

constexpr uint64_t most_bytes = 0x7FFFFFFF;  // protobuf's own limit
constexpr uint64_t most_inside = uint64_t(3) << 29, least_outside = 1024;
constexpr uint64_t page = 4096;  // a tensor that begins on one can be mapped by every runtime

/// What is decided before the first byte is written.
struct Plan {
  std::string what;                                              // "write_model(x.onnx)"
  std::string location;                                          // the second file's name
  std::unordered_map<const TensorData*, uint64_t> outside = {};  // offset in the second file

  Tensor plain(const TensorData& t) const {
    return detail::plain_tensor(t.tensor, cat(what, ": ", t.name));
  }
};

std::string_view bytes_of(const Tensor& t) {
  if (t.numel() == 0) return {};
  return {static_cast<const char*>(t.raw_data()), size_t(t.numel() * itemsize(t.dtype()))};
}

class Writer {
 public:
  Writer(Sink& sink, const Plan& plan)
      : sink_(sink), counting_(dynamic_cast<CountSink*>(&sink)), plan_(plan), out_(sink.head) {}

  /// The bytes of a whole message.
  template <class M>
  static uint64_t count(const M& m, const Plan& plan) {
    CountSink sink;
    Writer(sink, plan).content(m);
    return sink.bytes;
  }

  /// Throws when protobuf's readers would refuse the message.
  static void fits(uint64_t bytes, const Plan& plan) {
    require<ValueError>(bytes <= most_bytes, plan.what, ": a message of ", bytes,
                        " bytes, more than protobuf's limit of ", most_bytes,
                        " (WriteOptions.external_above moves tensors to a second file)");
  }

  template <class M>
  void content(const M& m) {
    wire::fields(*this, const_cast<M&>(m));  // the list is shared with the reader; nothing changes
    sink_.flush();
  }
  void content(const Attribute& a) {
    require<ValueError>(a.type != Attribute::Type::undefined && wire::single_values(a) == 1,
                        plan_.what, ": attribute ", a.name, ": type ", int(a.type),
                        " with other than one value");
    wire::fields(*this, const_cast<Attribute&>(a));
    sink_.flush();
  }
  void content(const TensorData& t) {
    wire::RawTensor raw;
    raw.name = t.name;
    raw.doc = t.doc;
    raw.metadata = t.metadata;
    raw.type = t.type;
    raw.dims = t.dims;
    if (!t.tensor.defined()) check_data(t);
    const auto outside = plan_.outside.find(&t);
    Tensor plain = t.tensor;
    if (t.tensor.defined()) {
      const Shape& shape = t.tensor.shape();
      raw.type = to_element_type(t.tensor.dtype());
      raw.dims.assign(shape.begin(), shape.end());
      // A copy of strided elements is made for the writing alone; their number is known before.
      const bool no_data = t.tensor.is_symbolic() || t.tensor.device().type != DeviceType::cpu;
      if (no_data || (!counting_ && outside == plan_.outside.end())) plain = plan_.plain(t);
    }
    const std::string_view data = t.tensor.defined() ? bytes_of(plain) : std::string_view(t.raw);
    if (outside != plan_.outside.end()) {
      raw.location = 1;
      raw.external = {{"location", plan_.location},
                      {"offset", cat(outside->second)},
                      {"length", cat(data.size())}};
    } else if (raw.type == ElementType::string) {
      raw.strings = t.strings;
    } else {
      raw.raw = data;
    }
    content(raw);
  }

  template <class T>
  void operator()(uint32_t n, const T& x) {
    if constexpr (requires { x.empty(); }) only(n, !x.empty(), x);
    else if constexpr (requires { x.has_value(); }) only(n, x.has_value(), x);
    else only(n, x != T{}, x);
  }
  template <class T>
  void only(uint32_t n, bool when, const T& x) {
    if (when) put<true>(n, x);
  }
  template <class T>
  void bytes(uint32_t n, bool when, const T& x) {
    if (when) put<false>(n, x);
  }
  template <class P>
  void part(uint32_t n, bool when, const P& p) {
    if (when) put<true>(n, p);
  }

 private:
  template <bool text, class T>
  void put(uint32_t n, const T& x) {
    if constexpr (std::is_same_v<T, float>) {
      out_.add_float(n, x);
    } else if constexpr (std::is_same_v<T, double>) {
      out_.add_double(n, x);
    } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
      out_.add_int64(n, int64_t(x));
    } else if constexpr (std::is_same_v<T, std::string>) {
      if constexpr (text)
        require<ValueError>(detail::is_utf8(x), plan_.what, ": field ", n,
                            " of a message holds text that is not UTF-8");
      put_bytes(n, x);
    } else if constexpr (std::is_same_v<T, std::optional<std::string_view>>) {
      put_bytes(n, *x);
    } else if constexpr (requires { typename T::value_type; }) {
      for (const auto& item : x) put<text>(n, item);
    } else {
      put_message(n, x);
    }
  }
  void put_bytes(uint32_t n, std::string_view x) {
    fits(x.size());
    put_length(n, x.size());
    sink_.flush();
    sink_.append(x);
  }
  /// Protozero's own nested writers leave out a message without fields, such as a scalar's shape,
  /// and move the bytes of one whose length they did not know.
  template <class M>
  void put_message(uint32_t n, const M& m) {
    const uint64_t bytes = count(m, plan_);
    fits(bytes);
    put_length(n, bytes);
    sink_.flush();
    if (counting_) counting_->bytes += bytes;
    else Writer(sink_, plan_).content(m);
  }
  void put_length(uint32_t n, uint64_t bytes) {
    const auto key = protozero::tag_and_type(n, protozero::pbf_wire_type::length_delimited);
    protozero::add_varint_to_buffer(&sink_.head, key);
    protozero::add_varint_to_buffer(&sink_.head, bytes);
  }
  void fits(uint64_t bytes) const { fits(bytes, plan_); }
  void check_data(const TensorData& t) const {
    uint64_t count = 1;
    for (int64_t d : t.dims) count *= uint64_t(d);
    const bool text = t.type == ElementType::string;
    const int bits = wire::bits(t.type);
    require<ValueError>(text || bits > 0, plan_.what, ": tensor ", t.name, ": element type ",
                        [&] { return onnx::name(t.type); });
    const uint64_t need = text ? count : (count * uint64_t(bits) + 7) / 8;
    const uint64_t have = text ? t.strings.size() : t.raw.size();
    require<ValueError>(need == have, plan_.what, ": tensor ", t.name, ": its dims and type need ",
                        need, text ? " strings" : " bytes", ", it has ", have);
  }

  Sink& sink_;
  CountSink* counting_;  // null: bytes are written
  const Plan& plan_;
  protozero::pbf_writer out_;
};

template <class M>
std::string in_memory(const M& m, const char* what) {
  Plan plan{what, {}};
  const uint64_t bytes = Writer::count(m, plan);
  Writer::fits(bytes, plan);
  TextSink sink;
  sink.text.reserve(size_t(bytes));
  Writer(sink, plan).content(m);
  return std::move(sink.text);
}

/// Every initializer, those of inner graphs too.
void collect(const Graph& g, std::vector<const TensorData*>& out) {
  for (const TensorData& t : g.initializers) out.push_back(&t);
  for (const Node& n : g.nodes)
    for (const Attribute& a : n.attributes)
      for (const Graph& inner : a.graphs) collect(inner, out);
}

uint64_t size_of(const TensorData& t) {
  return t.tensor.defined() ? uint64_t(t.tensor.numel() * itemsize(t.tensor.dtype()))
                            : uint64_t(t.raw.size());
}

bool exists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

/// Names that the second file may have; the one that the old model uses must stay until the end.
std::string data_name(const std::string& path, int i) {
  return i == 0 ? path + ".data" : cat(path, ".", i, ".data");
}
constexpr int data_names = 10;

/// Removes a file unless it is wanted after all.
struct Remover {
  std::string path;
  ~Remover() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

}  // namespace

void write_model(const std::string& path, const Model& model, WriteOptions options) {
  Plan plan{cat("write_model(", path, ")"), {}};
  std::vector<const TensorData*> tensors;
  collect(model.graph, tensors);
  for (const TrainingInfo& t : model.training) {
    if (t.initialization) collect(*t.initialization, tensors);
    if (t.algorithm) collect(*t.algorithm, tensors);
  }
  uint64_t inside = 0;
  for (const TensorData* t : tensors) inside += size_of(*t);
  uint64_t above = inside < most_inside ? UINT64_MAX : least_outside;
  if (options.external_above) {
    require<ValueError>(*options.external_above >= 0, plan.what,
                        ": external_above=", *options.external_above, " must not be negative");
    above = uint64_t(*options.external_above);
  }

  std::vector<const TensorData*> moved;
  uint64_t end = 0;
  for (const TensorData* t : tensors) {
    if (size_of(*t) <= above || t->type == ElementType::string) continue;
    const uint64_t at = (end + page - 1) / page * page;
    if (!plan.outside.emplace(t, at).second) continue;
    moved.push_back(t);
    end = at + size_of(*t);
  }
  int used = 0;
  if (!moved.empty()) {
    while (used < data_names && exists(data_name(path, used))) ++used;
    require<IOError>(
        used < data_names, plan.what, ": ",
        [&] { return cat(data_name(path, 0), " to ", data_name(path, data_names - 1)); },
        " all exist already");
    const std::string whole = data_name(path, used);
    plan.location = whole.substr(whole.rfind('/') + 1);
  }
  // Finds what is wrong with the model before a file is touched.
  Writer::fits(Writer::count(model, plan), plan);

  // Both are on disk before either has its name: a process killed in between leaves neither.
  std::optional<AtomicFile> data;
  if (!moved.empty()) {
    data.emplace(data_name(path, used));
    const std::string zeros(page, '\0');
    for (const TensorData* t : moved) {
      data->write(zeros.data(), size_t(plan.outside[t] - data->position()));
      const Tensor plain = t->tensor.defined() ? plan.plain(*t) : Tensor();
      data->write(plain.defined() ? bytes_of(plain) : std::string_view(t->raw));
    }
    data->sync();
  }
  AtomicFile file(path);
  FileSink sink(file);
  Writer(sink, plan).content(model);
  file.sync();
  Remover orphan;
  if (data) {
    data->commit();
    orphan.path = data_name(path, used);
  }
  file.commit();
  orphan.path.clear();
  if (moved.empty()) return;
  for (int i = 0; i < data_names; ++i)  // those of the model that was replaced
    if (i != used) ::unlink(data_name(path, i).c_str());
}

std::string serialize(const Model& model) { return in_memory(model, "onnx::serialize(Model)"); }
std::string serialize(const TensorData& tensor) {
  return in_memory(tensor, "onnx::serialize(TensorData)");
}

}  // namespace tandem::onnx
