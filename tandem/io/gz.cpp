#include "tandem/io/gz.h"

#include <zlib.h>

#include <algorithm>

namespace tandem::detail {

struct GzReader::State {
  const Source& source;
  z_stream z{};
  uint64_t at = 0;  ///< the next compressed byte
  bool done = false;
};

bool GzReader::matches(std::span<const uint8_t> bytes) {
  return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

GzReader::GzReader(const Source& source) : state_(new State{source}) {
  // 16 more than the window's bits asks zlib for gzip's head and tail.
  require<OutOfMemory>(inflateInit2(&state_->z, MAX_WBITS + 16) == Z_OK, source.name,
                       ": zlib has no memory");
}

GzReader::~GzReader() { inflateEnd(&state_->z); }

uint64_t GzReader::position() const { return state_->at; }

uint64_t GzReader::most_left() const {
  return (state_->source.bytes.size() - state_->at + 1) * 1032 + (uint64_t(1) << 16);
}

size_t GzReader::read(uint8_t* to, size_t bytes) {
  State& s = *state_;
  const std::span<const uint8_t> in = s.source.bytes;
  size_t filled = 0;
  uint8_t spare = 0;
  while (filled < bytes && !s.done) {
    // zlib counts in 32 bits.
    const auto in_now = uInt(std::min<uint64_t>(in.size() - s.at, 1u << 30));
    const auto out_now = uInt(std::min<size_t>(bytes - filled, 1u << 30));
    s.z.next_in = const_cast<Bytef*>(in.data() + s.at);
    s.z.avail_in = in_now;
    s.z.next_out = out_now ? to + filled : &spare;
    s.z.avail_out = out_now;
    const int code = inflate(&s.z, Z_NO_FLUSH);
    s.at += in_now - s.z.avail_in;
    filled += out_now - s.z.avail_out;
    if (code == Z_STREAM_END) {
      s.done = s.at == in.size();
      if (!s.done) inflateReset(&s.z);
      continue;
    }
    s.source.check(code != Z_MEM_ERROR, s.at, "zlib has no memory");
    s.source.check(code == Z_OK || code == Z_BUF_ERROR, s.at, "damaged gzip data",
                   [&] { return s.z.msg ? cat(": ", s.z.msg) : ""; });
    s.source.check(s.at < in.size() || s.z.avail_out == 0, s.at, "the gzip stream is cut off");
  }
  return filled;
}

}  // namespace tandem::detail
