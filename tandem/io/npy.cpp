#include "tandem/io/npy.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tandem/io/file.h"
#include "tandem/io/zip.h"

namespace tandem {

static_assert(std::endian::native == std::endian::little, "the readers copy little-endian memory");

namespace {

using detail::Source;

constexpr std::string_view magic = "\x93NUMPY";

/// What the header says.
struct Header {
  std::string descr;
  bool fortran = false;
  Shape shape;
};

/// The Python dict literal of the header. Only what NumPy writes: strings, True/False, a tuple.
class DictParser {
 public:
  DictParser(const Source& s, uint64_t begin, uint64_t end) : s_(s), at_(begin), end_(end) {}

  Header parse() {
    Header h;
    bool seen[3] = {};
    expect('{');
    while (!accept('}')) {
      const uint64_t where = at_;
      const std::string key = string();
      expect(':');
      const int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : -1;
      s_.check(which >= 0, where, "unknown key '", key, "' in the header");
      s_.check(!seen[which], where, "the key '", key, "' comes twice in the header");
      seen[which] = true;
      if (which == 0) h.descr = descr();
      else if (which == 1) h.fortran = boolean_word();
      else h.shape = tuple();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    s_.check(at_ == end_, at_, "text after the header's dictionary");
    s_.check(seen[0] && seen[1] && seen[2], end_,
             "the header needs 'descr', 'fortran_order' and 'shape'");
    return h;
  }

 private:
  char peek() const { return at_ < end_ ? char(s_.bytes[at_]) : '\0'; }
  void skip_space() {
    while (at_ < end_ && (peek() == ' ' || peek() == '\n' || peek() == '\t' || peek() == '\r'))
      ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= end_ || peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) { s_.check(accept(c), at_, "expected '", c, "' in the header"); }

  std::string string() {
    skip_space();
    const char quote = peek();
    s_.check(quote == '\'' || quote == '"', at_, "expected a string in the header");
    const uint64_t start = ++at_;
    while (at_ < end_ && peek() != quote && peek() != '\\') ++at_;
    s_.check(at_ < end_ && peek() == quote, start, "a string without end in the header");
    const auto* p = reinterpret_cast<const char*>(s_.bytes.data());
    return {p + start, p + at_++};
  }
  std::string descr() {
    skip_space();
    s_.check(peek() != '[', at_, "structured arrays cannot be read, only plain numbers");
    return string();
  }
  bool boolean_word() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (end_ - at_ < word.size() || std::memcmp(s_.bytes.data() + at_, word.data(), word.size()))
        continue;
      at_ += word.size();
      return word == "True";
    }
    s_.fail(at_, "fortran_order must be True or False");
  }
  Shape tuple() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      skip_space();
      const uint64_t where = at_;
      int64_t v = 0;
      while (at_ < end_ && peek() >= '0' && peek() <= '9') {
        s_.check(v <= (INT64_MAX - 9) / 10, where, "a size in the shape is too large");
        v = v * 10 + (s_.bytes[at_++] - '0');
      }
      s_.check(at_ > where, where, "expected a size in the shape");
      if (peek() == 'L') ++at_;  // Python 2 wrote its long integers so
      s_.check(shape.size() < max_dims, where, "more than ", max_dims, " dimensions");
      shape.push_back(v);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  const Source& s_;
  uint64_t at_, end_;
};

/// How the elements lie in the file and what they become.
struct Element {
  int bytes;
  bool swap;
  char kind;  // f i u b, or B for bf16
  DType dtype;
};

Element element(const Source& s, uint64_t at, const std::string& descr) {
  const auto refuse = [&](const char* why) { s.fail(at, cat("descr '", descr, "': ", why)); };
  if (descr.size() < 2) refuse("not an element type");
  const char order = descr[0];
  const bool has_order = order == '<' || order == '>' || order == '|' || order == '=';
  const std::string type = descr.substr(has_order ? 1 : 0);
  static constexpr struct {
    std::string_view name;
    Element element;
  } known[] = {{"f4", {4, false, 'f', f32}},       {"f8", {8, false, 'f', f64}},
               {"f2", {2, false, 'f', f16}},       {"V2", {2, false, 'B', bf16}},
               {"i1", {1, false, 'i', i8}},        {"u1", {1, false, 'u', u8}},
               {"i2", {2, false, 'i', i16}},       {"u2", {2, false, 'u', u16}},
               {"i4", {4, false, 'i', i32}},       {"u4", {4, false, 'u', u32}},
               {"i8", {8, false, 'i', i64}},       {"u8", {8, false, 'u', u64}},
               {"b1", {1, false, 'b', boolean}},   {"?", {1, false, 'b', boolean}},
               {"bfloat16", {2, false, 'B', bf16}}};
  for (const auto& k : known) {
    if (k.name != type) continue;
    Element e = k.element;
    e.swap = order == '>' && e.bytes > 1;
    return e;
  }
  if (type[0] == 'O') refuse("object arrays hold Python pickles and cannot be read");
  if (type[0] == 'c') refuse("complex numbers have no Tandem dtype");
  if (type[0] == 'S' || type[0] == 'U' || type[0] == 'a') refuse("strings have no Tandem dtype");
  refuse("not an element type that can be read");
  return {};
}

void swap_bytes(uint8_t* p, int64_t n, int bytes) {
  for (int64_t i = 0; i < n; ++i) std::reverse(p + i * bytes, p + (i + 1) * bytes);
}

Tensor parse(const Source& s) {
  s.check(s.bytes.size() >= 10 && !std::memcmp(s.bytes.data(), magic.data(), magic.size()), 0,
          "not a .npy file: it must start with \\x93NUMPY and a version");
  const int major = s.bytes[6];
  s.check(major >= 1 && major <= 3, 6, "format version ", major, " is unknown (1 to 3 are read)");
  const uint64_t start = major == 1 ? 10 : 12;
  const uint64_t length = major == 1 ? s.number<uint16_t>(8) : s.number<uint32_t>(8);
  s.check(s.bytes.size() >= start && length <= s.bytes.size() - start, 8, "a header of ",
          int64_t(length), " bytes passes the end of the file (", s.bytes.size(), " bytes)");
  const uint64_t data = start + length;
  const Header h = DictParser(s, start, data).parse();
  const Element e = element(s, start, h.descr);
  int64_t bytes = 0;
  s.check(detail::checked_bytes(h.shape, std::max<int64_t>(e.bytes, itemsize(e.dtype)), bytes),
          start, "shape ", h.shape, " has too many elements");
  bytes = h.shape.numel() * e.bytes;
  s.check(int64_t(s.bytes.size() - data) == bytes, data, "shape ", h.shape, " of '", h.descr,
          "' needs ", bytes, " bytes of data, the file has ", s.bytes.size() - data);

  // Columns first are rows first of the reversed shape, seen through a transpose.
  Shape stored = h.shape;
  if (h.fortran) std::reverse(stored.begin(), stored.end());
  Tensor t = detail::tensor_from({s.bytes, s.name}, data, stored, e.dtype);
  if (e.swap) swap_bytes(static_cast<uint8_t*>(t.raw_data()), t.numel(), e.bytes);
  if (!h.fortran || h.shape.size() < 2) return t;
  Strides strides = contiguous_strides(stored);
  std::reverse(strides.begin(), strides.end());
  return detail::plain_tensor(detail::alias(t, h.shape, strides, 0), s.name);
}

std::string header_of(const Tensor& t) {
  static constexpr std::string_view descr[] = {"<f4", "<f8", "<f2", "<V2", "|i1", "|u1", "<i4",
                                               "<i8", "|b1", "<i2", "<u2", "<u4", "<u8"};
  std::string dict =
      cat("{'descr': '", descr[int(t.dtype())], "', 'fortran_order': False, 'shape': (");
  for (int64_t d : t.shape()) dict += cat(d, t.dim() == 1 ? "," : ", ");
  if (t.dim() > 1) dict.resize(dict.size() - 2);
  dict += "), }";
  // Data starts at a multiple of 64 bytes, as NumPy writes it.
  const size_t total = (10 + dict.size() + 1 + 63) / 64 * 64;
  dict.append(total - 10 - dict.size() - 1, ' ');
  dict += '\n';
  std::string s(magic);
  s += '\1';
  s += '\0';
  s += char(dict.size() & 0xff);
  s += char(dict.size() >> 8);
  return s + dict;
}

std::string_view body_of(const Tensor& t) {
  return {static_cast<const char*>(t.raw_data()), size_t(t.numel() * itemsize(t.dtype()))};
}

std::map<std::string, Tensor> parse_archive(const Source& s) {
  std::map<std::string, Tensor> tensors;
  for (const detail::ZipEntry& entry : detail::read_zip(s)) {
    const Source content = detail::open_entry(s, entry);
    const std::string name = cat(s.name, ": member ", entry.name);
    // Without an owner: NumPy's writer changes files in place, so nothing may stay mapped.
    const Source member{content.bytes, name};
    std::string key = entry.name;
    const bool is_array = key.size() >= 4 && key.ends_with(".npy");
    if (is_array) key.resize(key.size() - 4);
    s.check(!tensors.contains(key), entry.data_at, "two members are named ", key);
    tensors[key] = is_array ? parse(member)
                            : detail::tensor_from(member, 0, {int64_t(member.bytes.size())}, u8);
  }
  return tensors;
}

}  // namespace

Tensor parse_npy(std::span<const uint8_t> bytes, std::string_view name) {
  return parse({bytes, name});
}

Tensor load_npy(const std::string& path) {
  const auto file = MappedFile::open(path);
  return parse({file->bytes(), cat("load_npy(", path, ")")});
}

void save_npy(const std::string& path, const Tensor& t) {
  const Tensor plain = detail::plain_tensor(t, cat("save_npy(", path, ")"));
  AtomicFile file(path);
  file.write(header_of(plain));
  file.write(body_of(plain));
  file.commit();
}

std::map<std::string, Tensor> parse_npz(std::span<const uint8_t> bytes, std::string_view name) {
  return parse_archive({bytes, name});
}

std::map<std::string, Tensor> load_npz(const std::string& path) {
  const auto file = MappedFile::open(path);
  return parse_archive({file->bytes(), cat("load_npz(", path, ")")});
}

void save_npz(const std::string& path, const std::map<std::string, Tensor>& tensors,
              NpzOptions options) {
  AtomicFile file(path);
  detail::ZipWriter zip(file, options.compressed);
  for (const auto& [name, t] : tensors) {
    const Tensor plain = detail::plain_tensor(t, cat("save_npz(", path, "): ", name));
    zip.add(name + ".npy", header_of(plain), body_of(plain));
  }
  zip.finish();
  file.commit();
}

}  // namespace tandem
