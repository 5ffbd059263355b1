#include "tandem/io/idx.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "tandem/io/file.h"
#include "tandem/io/gz.h"

namespace tandem {

namespace {

using detail::Source;

/// The content of the file, from memory or through the inflater.
class Content {
 public:
  explicit Content(const Source& s) : s_(s) {
    if (detail::GzReader::matches(s.bytes)) gz_.emplace(s);
  }
  uint64_t position() const { return gz_ ? gz_->position() : at_; }
  uint64_t most_left() const { return gz_ ? gz_->most_left() : s_.bytes.size() - at_; }

  void read(void* to, size_t bytes, const char* what) {
    const size_t n = some(static_cast<uint8_t*>(to), bytes);
    s_.check(n == bytes, position(), "the file ends inside ", what, ": ", bytes - n, " of ", bytes,
             " bytes are missing");
  }
  uint32_t big_endian(const char* what) {
    uint8_t b[4];
    read(b, 4, what);
    return uint32_t(b[0]) << 24 | uint32_t(b[1]) << 16 | uint32_t(b[2]) << 8 | b[3];
  }
  void expect_end() {
    uint8_t b = 0;
    s_.check(some(&b, 1) == 0, position(), "bytes after the last element");
  }

 private:
  size_t some(uint8_t* to, size_t bytes) {
    if (gz_) return gz_->read(to, bytes);
    const size_t n = std::min<size_t>(bytes, s_.bytes.size() - at_);
    if (n) std::memcpy(to, s_.bytes.data() + at_, n);
    at_ += n;
    return n;
  }

  const Source& s_;
  uint64_t at_ = 0;
  std::optional<detail::GzReader> gz_;
};

struct Element {
  uint8_t code;
  int bytes;
  DType dtype;
};
constexpr Element elements[] = {{0x08, 1, u8},  {0x09, 1, i8},  {0x0b, 2, i16},
                                {0x0c, 4, i32}, {0x0d, 4, f32}, {0x0e, 8, f64}};

Tensor parse(const Source& s) {
  Content in(s);
  uint8_t head[4];
  in.read(head, 4, "its first four bytes");
  s.check(head[0] == 0 && head[1] == 0, 0, "not an idx file: it must start with two zero bytes");
  const auto* e = std::find_if(std::begin(elements), std::end(elements),
                               [&](const Element& x) { return x.code == head[2]; });
  s.check(e != std::end(elements), 2, "element code ", head[2],
          " is unknown (8 9 11 12 13 14 are read)");
  s.check(head[3] <= max_dims, 3, int(head[3]), " dimensions, more than ", max_dims);
  Shape shape;
  for (int i = 0; i < head[3]; ++i) shape.push_back(in.big_endian("the list of sizes"));
  int64_t bytes = 0;
  s.check(detail::checked_bytes(shape, itemsize(e->dtype), bytes), 4, "shape ", shape,
          " has too many elements");
  bytes = shape.numel() * e->bytes;
  // Before memory is asked for: more than this cannot be in the file.
  s.check(uint64_t(bytes) <= in.most_left(), in.position(), "shape ", shape, " needs ", bytes,
          " bytes, more than the file can hold");
  Tensor t = empty(shape, e->dtype);
  auto* data = static_cast<uint8_t*>(t.raw_data());
  const int64_t n = t.numel();
  in.read(data, size_t(bytes), "the elements");
  if (e->bytes > 1)
    for (int64_t i = 0; i < n; ++i) std::reverse(data + i * e->bytes, data + (i + 1) * e->bytes);
  in.expect_end();
  return t;
}

}  // namespace

Tensor parse_idx(std::span<const uint8_t> bytes, std::string_view name) {
  return parse({bytes, name});
}

Tensor load_idx(const std::string& path) {
  const auto file = MappedFile::open(path);
  return parse({file->bytes(), cat("load_idx(", path, ")")});
}

}  // namespace tandem
