#include "tandem/io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "tandem/io/file.h"

namespace tandem {

namespace {

using detail::Source;
using Metadata = std::map<std::string, std::string>;

constexpr std::string_view metadata_key = "__metadata__";
constexpr uint64_t max_header = 100'000'000;

struct Entry {
  std::string dtype;
  std::vector<uint64_t> shape, offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

/// Takes the header apart as it is parsed; a document tree would hide duplicate keys.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::map<std::string, Entry> entries;
  Metadata metadata;
  std::string problem;
  uint64_t problem_at = 0;

  bool start_object(std::size_t) override {
    if (depth_ == 0) return depth_ = 1, true;
    if (depth_ == 1 && in_metadata_) return depth_ = 2, true;
    if (depth_ == 1 && entry_) return depth_ = 2, true;
    return refuse("an object where none belongs");
  }
  bool key(string_t& name) override {
    if (depth_ == 1) {
      name_ = name;
      in_metadata_ = name == metadata_key;
      entry_ = nullptr;
      if (in_metadata_) {
        if (seen_metadata_) return refuse("the key comes twice");
        seen_metadata_ = true;
        return true;
      }
      const auto [it, fresh] = entries.try_emplace(name);
      if (!fresh) return refuse("the name comes twice");
      entry_ = &it->second;
      return true;
    }
    field_ = name;
    if (in_metadata_) {
      if (metadata.contains(name)) return refuse("the key " + name + " comes twice");
      return true;
    }
    bool* seen = name == "dtype"          ? &entry_->has_dtype
                 : name == "shape"        ? &entry_->has_shape
                 : name == "data_offsets" ? &entry_->has_offsets
                                          : nullptr;
    if (!seen) return refuse("unknown key " + name);
    if (*seen) return refuse("the key " + name + " comes twice");
    *seen = true;
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1) {
      if (entry_ && !(entry_->has_dtype && entry_->has_shape && entry_->has_offsets))
        return refuse("dtype, shape and data_offsets are needed");
      entry_ = nullptr;
      in_metadata_ = false;
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (list_ || depth_ != 2 || !entry_ || field_ == "dtype")
      return refuse("a list where none belongs");
    list_ = field_ == "shape" ? &entry_->shape : &entry_->offsets;
    return true;
  }
  bool end_array() override {
    list_ = nullptr;
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ == 2 && in_metadata_) return metadata.emplace(field_, text), true;
    if (depth_ != 2 || !entry_ || list_ || field_ != "dtype")
      return refuse("a string where none belongs");
    entry_->dtype = text;
    return true;
  }
  bool number_unsigned(number_unsigned_t v) override {
    if (!list_) return refuse("a number where none belongs");
    if (list_->size() >= 64) return refuse("the list is too long");
    list_->push_back(v);
    return true;
  }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override {
    return refuse("the number " + text + " is not an integer of 64 bits");
  }
  bool null() override { return refuse("null where a value belongs"); }
  bool boolean(bool) override { return refuse("a boolean where none belongs"); }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::json::exception&) override {
    problem = "the header is not valid JSON";
    problem_at = at;
    return false;
  }

 private:
  bool refuse(const std::string& text) {
    problem = depth_ == 0 ? text : cat(in_metadata_ ? "" : "tensor ", name_, ": ", text);
    return false;
  }

  int depth_ = 0;
  bool in_metadata_ = false, seen_metadata_ = false;
  std::string name_, field_;
  Entry* entry_ = nullptr;
  std::vector<uint64_t>* list_ = nullptr;
};

struct FileType {
  std::string_view name;
  int bytes;
  DType dtype;
};
constexpr FileType file_types[] = {
    {"F32", 4, f32}, {"F64", 8, f64}, {"F16", 2, f16}, {"BF16", 2, bf16},    {"I8", 1, i8},
    {"U8", 1, u8},   {"I32", 4, i32}, {"I64", 8, i64}, {"BOOL", 1, boolean}, {"I16", 2, i16},
    {"U16", 2, u16}, {"U32", 4, u32}, {"U64", 8, u64}};

Tensor make_tensor(const Source& s, uint64_t data, const std::string& name, const Entry& e) {
  const auto type = std::find_if(std::begin(file_types), std::end(file_types),
                                 [&](const FileType& t) { return t.name == e.dtype; });
  s.check(type != std::end(file_types), 8, "tensor ", name, ": dtype ", e.dtype,
          " cannot be read (F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL can)");
  s.check(e.shape.size() <= max_dims, 8, "tensor ", name, ": ", e.shape.size(),
          " dimensions, more than ", max_dims);
  Shape shape;
  for (uint64_t d : e.shape) {
    s.check(d <= uint64_t(INT64_MAX), 8, "tensor ", name, ": a size passes 2^63");
    shape.push_back(int64_t(d));
  }
  int64_t bytes = 0;
  s.check(
      detail::checked_bytes(shape, std::max<int64_t>(type->bytes, itemsize(type->dtype)), bytes), 8,
      "tensor ", name, ": shape ", shape, " has too many elements");
  bytes = shape.numel() * type->bytes;
  const uint64_t at = data + e.offsets[0];
  s.check(e.offsets[1] - e.offsets[0] == uint64_t(bytes), at, "tensor ", name, ": shape ", shape,
          " of ", e.dtype, " needs ", bytes, " bytes, its data_offsets span ",
          int64_t(e.offsets[1] - e.offsets[0]));
  return detail::tensor_from(s, at, shape, type->dtype);
}

/// Fills what is asked for; the header is checked whole either way.
void parse(const Source& s, NamedTensors* tensors, Metadata* metadata) {
  const uint64_t size = s.bytes.size();
  s.check(size >= 8, 0, "too short for a safetensors file (", size, " bytes)");
  const uint64_t length = s.number<uint64_t>(0);
  s.check(
      length <= max_header, 0, "a header of ",
      [&] { return length > uint64_t(INT64_MAX) ? "over 2^63" : cat(length); },
      " bytes passes the limit of ", max_header);
  s.check(length <= size - 8, 0, "a header of ", length, " bytes passes the end of the file (",
          size, " bytes)");
  const auto* text = reinterpret_cast<const char*>(s.bytes.data() + 8);
  s.check(length > 0 && text[0] == '{', 8, "the header must start with {");
  HeaderReader reader;
  const bool ok = nlohmann::json::sax_parse(text, text + length, &reader);
  s.check(ok && reader.problem.empty(), 8 + reader.problem_at, reader.problem);

  const uint64_t data = 8 + length;
  std::vector<std::pair<const std::string, Entry>*> order;
  for (auto& item : reader.entries) {
    const Entry& e = item.second;
    s.check(e.offsets.size() == 2 && e.offsets[0] <= e.offsets[1], 8, "tensor ", item.first,
            ": data_offsets must be two numbers, begin and end");
    order.push_back(&item);
  }
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return a->second.offsets < b->second.offsets; });
  uint64_t end = 0;
  for (const auto* item : order) {
    const auto& offsets = item->second.offsets;
    s.check(offsets[0] == end, data + end, "tensor ", item->first, " starts at ",
            int64_t(offsets[0]), " of the data, not where the one before it ends (", int64_t(end),
            "): ", offsets[0] < end ? "they overlap" : "there is a hole");
    s.check(offsets[1] <= size - data, data + end, "tensor ", item->first, " ends at ",
            int64_t(offsets[1]), " of the data, the file has ", int64_t(size - data),
            " bytes of it");
    end = offsets[1];
  }
  s.check(end == size - data, data + end, "the file has ", int64_t(size - data - end),
          " bytes that belong to no tensor");
  for (const auto* item : order) {
    Tensor t = make_tensor(s, data, item->first, item->second);
    if (tensors) tensors->emplace_back(item->first, std::move(t));
  }
  if (metadata) *metadata = std::move(reader.metadata);
}

std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw ValueError("save_safetensors: a name or metadata text is not UTF-8");
  }
}

/// The order of the format's reference writer: widest elements first, so that all are aligned.
int rank(DType d) {
  static constexpr int ranks[] = {3, 2, 7, 6, 10, 11, 5, 1, 12, 9, 8, 4, 0};
  return ranks[int(d)];
}

}  // namespace

NamedTensors load_safetensors(const std::string& path) {
  const auto file = MappedFile::open(path);
  const std::string name = cat("load_safetensors(", path, ")");
  NamedTensors tensors;
  parse({file->bytes(), name, file}, &tensors, nullptr);
  return tensors;
}

Metadata load_safetensors_metadata(const std::string& path) {
  const auto file = MappedFile::open(path);
  const std::string name = cat("load_safetensors_metadata(", path, ")");
  Metadata metadata;
  parse({file->bytes(), name, file}, nullptr, &metadata);
  return metadata;
}

NamedTensors parse_safetensors(std::span<const uint8_t> bytes, std::string_view name,
                               Metadata* metadata) {
  NamedTensors tensors;
  parse({bytes, name}, &tensors, metadata);
  return tensors;
}

void save_safetensors(const std::string& path, const NamedTensors& tensors,
                      const Metadata& metadata) {
  struct Item {
    const std::string* name;
    Tensor t;
  };
  std::vector<Item> items;
  for (const auto& [name, t] : tensors) {
    const std::string what = cat("save_safetensors(", path, "): ", name);
    require<ValueError>(name != metadata_key, what, ": this name is kept for the metadata");
    items.push_back({&name, detail::plain_tensor(t, what)});
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    const int ra = rank(a.t.dtype()), rb = rank(b.t.dtype());
    return ra != rb ? ra < rb : *a.name < *b.name;
  });
  std::set<std::string_view> names;
  for (const Item& item : items)
    require<ValueError>(names.insert(*item.name).second, "save_safetensors(", path, "): the name ",
                        *item.name, " comes twice");
  std::string header = "{";
  const auto comma = [&] {
    if (header.back() != '{') header += ',';
  };
  if (!metadata.empty()) {
    header += cat("\"", metadata_key, "\":{");
    for (const auto& [key, value] : metadata) {
      comma();
      header += quoted(key) + ":" + quoted(value);
    }
    header += '}';
  }
  uint64_t at = 0;
  for (const Item& item : items) {
    comma();
    const FileType& type = file_types[int(item.t.dtype())];
    const Shape& shape = item.t.shape();
    header += cat(quoted(*item.name), ":{\"dtype\":\"", type.name, "\",\"shape\":[");
    for (int i = 0; i < shape.size(); ++i) header += cat(i ? "," : "", shape[i]);
    const uint64_t end = at + uint64_t(item.t.numel() * type.bytes);
    header += cat("],\"data_offsets\":[", at, ",", end, "]}");
    at = end;
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  require<ValueError>(header.size() <= max_header, "save_safetensors(", path, "): the header of ",
                      header.size(), " bytes passes the limit of ", max_header);

  AtomicFile file(path);
  const uint64_t length = header.size();
  file.write(&length, sizeof length);
  file.write(header);
  for (const Item& item : items)
    file.write(item.t.raw_data(), size_t(item.t.numel() * itemsize(item.t.dtype())));
  file.commit();
}

}  // namespace tandem
