#include "tandem/io/zip.h"

#include <zlib.h>

#include <algorithm>

namespace tandem::detail {

namespace {

constexpr uint32_t local_mark = 0x04034b50, central_mark = 0x02014b50, end_mark = 0x06054b50,
                   end64_mark = 0x06064b50, locator64_mark = 0x07064b50;
constexpr uint64_t end_bytes = 22, local_bytes = 30, central_bytes = 46;
constexpr uint32_t full32 = 0xffffffffu;

struct Directory {
  uint64_t at = 0, bytes = 0, count = 0, end = 0;
};

Directory find_directory(const Source& s) {
  const uint64_t size = s.bytes.size();
  s.check(size >= end_bytes, 0, "too short for a zip archive (", size, " bytes)");
  const uint64_t lowest = size - std::min<uint64_t>(size, end_bytes + 0xffff);
  uint64_t at = size - end_bytes;
  // The end record is followed by a comment that must fill the rest of the file.
  while (!(s.number<uint32_t>(at) == end_mark &&
           at + end_bytes + s.number<uint16_t>(at + 20) == size)) {
    s.check(at > lowest, size,
            "no end-of-directory record: not a zip archive, or its end is cut off");
    --at;
  }
  Directory d{s.number<uint32_t>(at + 16), s.number<uint32_t>(at + 12), s.number<uint16_t>(at + 10),
              at};
  s.check(s.number<uint16_t>(at + 4) == 0 && s.number<uint16_t>(at + 6) == 0, at + 4,
          "archives over several disks cannot be read");
  if (d.at == full32 || d.bytes == full32 || d.count == 0xffff) {
    if (at < 20 || s.number<uint32_t>(at - 20) != locator64_mark) return d;
    const uint64_t at64 = s.number<uint64_t>(at - 20 + 8);
    s.check(at64 <= at - 20 && at - 20 - at64 >= 56 && s.number<uint32_t>(at64) == end64_mark,
            at - 12, "the zip64 locator points to byte ", int64_t(at64), ", where no record is");
    d = {s.number<uint64_t>(at64 + 48), s.number<uint64_t>(at64 + 40),
         s.number<uint64_t>(at64 + 32), at64};
  }
  return d;
}

/// Takes the 64-bit sizes from the extra field where the 32-bit ones are full.
void read_zip64(const Source& s, uint64_t at, uint64_t end, uint64_t& size, uint64_t& packed,
                uint64_t& local) {
  if (size != full32 && packed != full32 && local != full32) return;
  while (at + 4 <= end) {
    const uint16_t id = s.number<uint16_t>(at), bytes = s.number<uint16_t>(at + 2);
    s.check(bytes <= end - at - 4, at, "an extra field of ", bytes, " bytes passes its entry");
    if (id != 1) {
      at += 4u + bytes;
      continue;
    }
    uint64_t p = at + 4;
    for (uint64_t* v : {&size, &packed, &local}) {
      if (*v != full32) continue;
      s.check(p + 8 <= at + 4 + bytes, p, "the zip64 field is too short");
      *v = s.number<uint64_t>(p);
      p += 8;
    }
    return;
  }
}

std::vector<uint8_t> inflate_entry(const Source& s, const ZipEntry& e) {
  // Deflate gains at most a factor 1032; a larger claim is a lie that would only cost memory.
  s.check(e.size / 1032 <= e.packed + 1, e.data_at, "member ", e.name, " claims ", int64_t(e.size),
          " bytes from ", int64_t(e.packed), " deflated ones");
  std::vector<uint8_t> out(e.size);
  z_stream z{};
  require<OutOfMemory>(inflateInit2(&z, -MAX_WBITS) == Z_OK, s.name, ": zlib has no memory");
  uint64_t in_done = 0, out_done = 0;
  int code = Z_OK;
  uint8_t spare = 0;
  while (code == Z_OK) {
    // zlib counts in 32 bits; larger members go in parts.
    const uint64_t in_now = std::min<uint64_t>(e.packed - in_done, 1u << 30);
    const uint64_t out_now = std::min<uint64_t>(e.size - out_done, 1u << 30);
    z.next_in = const_cast<Bytef*>(s.bytes.data() + e.data_at + in_done);
    z.avail_in = uInt(in_now);
    z.next_out = out_now ? out.data() + out_done : &spare;
    z.avail_out = out_now ? uInt(out_now) : 1;
    code = inflate(&z, Z_NO_FLUSH);
    in_done += in_now - z.avail_in;
    if (out_now) out_done += out_now - z.avail_out;
    else if (z.avail_out == 0) code = Z_DATA_ERROR;  // more than the directory says
  }
  inflateEnd(&z);
  s.check(code == Z_STREAM_END && out_done == e.size, e.data_at + in_done, "member ", e.name,
          " is not valid deflate data of ", int64_t(e.size), " bytes");
  return out;
}

void put(std::string& s, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) s += char(v >> (8 * i) & 0xff);
}

}  // namespace

std::vector<ZipEntry> read_zip(const Source& s) {
  const Directory d = find_directory(s);
  s.check(d.at <= d.end && d.bytes <= d.end - d.at, d.end, "the directory of ", int64_t(d.bytes),
          " bytes at ", int64_t(d.at), " does not fit before its end record");
  s.check(d.count <= d.bytes / central_bytes, d.end, "the directory of ", int64_t(d.bytes),
          " bytes cannot hold ", int64_t(d.count), " members");
  std::vector<ZipEntry> entries;
  entries.reserve(d.count);
  uint64_t at = d.at;
  for (uint64_t i = 0; i < d.count; ++i) {
    s.check(at + central_bytes <= d.at + d.bytes && s.number<uint32_t>(at) == central_mark, at,
            "member ", int64_t(i), " of ", int64_t(d.count), " is missing in the directory");
    const uint16_t flags = s.number<uint16_t>(at + 8), method = s.number<uint16_t>(at + 10);
    const uint64_t name_bytes = s.number<uint16_t>(at + 28);
    const uint64_t extra_bytes = s.number<uint16_t>(at + 30);
    const uint64_t next =
        at + central_bytes + name_bytes + extra_bytes + s.number<uint16_t>(at + 32);
    s.check(next <= d.at + d.bytes, at, "member ", int64_t(i), " passes the end of the directory");
    ZipEntry e;
    e.crc = s.number<uint32_t>(at + 16);
    e.packed = s.number<uint32_t>(at + 20);
    e.size = s.number<uint32_t>(at + 24);
    uint64_t local = s.number<uint32_t>(at + 42);
    const auto* name = reinterpret_cast<const char*>(s.bytes.data() + at + central_bytes);
    e.name.assign(name, name_bytes);
    const uint64_t extra = at + central_bytes + name_bytes;
    read_zip64(s, extra, extra + extra_bytes, e.size, e.packed, local);
    s.check((flags & 1) == 0, at + 8, "member ", e.name, " is encrypted");
    s.check(method == 0 || method == 8, at + 10, "member ", e.name, " uses compression method ",
            method, "; only stored (0) and deflated (8) can be read");
    e.deflated = method == 8;
    s.check(local < d.at && d.at - local >= local_bytes && s.number<uint32_t>(local) == local_mark,
            at + 42, "member ", e.name, " points to byte ", int64_t(local),
            ", where no local header is");
    // The local extra field may differ from the directory's: only its length counts here.
    e.data_at =
        local + local_bytes + s.number<uint16_t>(local + 26) + s.number<uint16_t>(local + 28);
    s.check(e.data_at <= d.at && e.packed <= d.at - e.data_at, at + 20, "member ", e.name, " of ",
            int64_t(e.packed), " bytes passes the start of the directory");
    s.check(e.deflated || e.packed == e.size, at + 24, "stored member ", e.name, " has ",
            int64_t(e.packed), " bytes but claims ", int64_t(e.size));
    entries.push_back(std::move(e));
    at = next;
  }
  std::vector<std::string_view> names;
  for (const ZipEntry& e : entries) names.push_back(e.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  s.check(twin == names.end(), d.at, "two members are named ", twin == names.end() ? "" : *twin);
  return entries;
}

Source open_entry(const Source& s, const ZipEntry& e) {
  Source out{{}, s.name, s.owner};
  if (e.deflated) {
    auto data = std::make_shared<std::vector<uint8_t>>(inflate_entry(s, e));
    out.bytes = *data;
    out.owner = std::move(data);
  } else {
    out.bytes = s.bytes.subspan(e.data_at, e.size);
  }
  const auto crc = uint32_t(crc32_z(crc32_z(0, nullptr, 0), out.bytes.data(), out.bytes.size()));
  s.check(crc == e.crc, e.data_at, "the check sum of member ", e.name, " does not fit its bytes");
  return out;
}

void ZipWriter::add(std::string_view name, std::string_view head, std::string_view body) {
  require<ValueError>(name.size() <= 0xffff, "save: a name of ", name.size(),
                      " bytes is too long for a zip archive (65535)");
  Entry e{std::string(name), file_.position(), 0, head.size() + body.size(), 0, deflate_};
  const auto* h = reinterpret_cast<const Bytef*>(head.data());
  const auto* b = reinterpret_cast<const Bytef*>(body.data());
  e.crc = uint32_t(crc32_z(crc32_z(0, nullptr, 0), h, head.size()));
  if (b) e.crc = uint32_t(crc32_z(e.crc, b, body.size()));  // zlib starts afresh at a null pointer
  std::string packed;
  if (deflate_) {
    z_stream z{};
    require<OutOfMemory>(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8,
                                      Z_DEFAULT_STRATEGY) == Z_OK,
                         "save: zlib has no memory");
    std::vector<uint8_t> chunk(size_t(1) << 16);
    for (const bool last : {false, true}) {
      const std::string_view part = last ? body : head;
      for (size_t done = 0;;) {
        const size_t now = std::min<size_t>(part.size() - done, size_t(1) << 30);
        z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data() + done));
        z.avail_in = uInt(now);
        done += now;
        const int flush = last && done == part.size() ? Z_FINISH : Z_NO_FLUSH;
        do {
          z.next_out = chunk.data();
          z.avail_out = uInt(chunk.size());
          deflate(&z, flush);
          packed.append(reinterpret_cast<char*>(chunk.data()), chunk.size() - z.avail_out);
        } while (z.avail_out == 0);
        if (done == part.size()) break;
      }
    }
    deflateEnd(&z);
  }
  e.packed = deflate_ ? packed.size() : e.size;
  const bool zip64 = e.size >= full32 || e.packed >= full32;
  std::string header;
  put(header, local_mark, 4);
  put(header, zip64 ? 45 : 20, 2);
  put(header, 0x0800, 2);  // names are UTF-8
  put(header, e.deflated ? 8 : 0, 2);
  put(header, 0, 2);
  put(header, 0x0021, 2);  // 1980-01-01
  put(header, e.crc, 4);
  put(header, zip64 ? full32 : e.packed, 4);
  put(header, zip64 ? full32 : e.size, 4);
  put(header, name.size(), 2);
  put(header, zip64 ? 20 : 0, 2);
  header += name;
  if (zip64) {
    put(header, 1, 2);
    put(header, 16, 2);
    put(header, e.size, 8);
    put(header, e.packed, 8);
  }
  file_.write(header);
  if (deflate_) {
    file_.write(packed);
  } else {
    file_.write(head);
    file_.write(body);
  }
  entries_.push_back(std::move(e));
}

void ZipWriter::finish() {
  const uint64_t start = file_.position();
  for (const Entry& e : entries_) {
    const bool zip64 = e.size >= full32 || e.packed >= full32 || e.at >= full32;
    std::string s;
    put(s, central_mark, 4);
    put(s, 0x0300 | (zip64 ? 45 : 20), 2);
    put(s, zip64 ? 45 : 20, 2);
    put(s, 0x0800, 2);
    put(s, e.deflated ? 8 : 0, 2);
    put(s, 0, 2);
    put(s, 0x0021, 2);
    put(s, e.crc, 4);
    put(s, zip64 ? full32 : e.packed, 4);
    put(s, zip64 ? full32 : e.size, 4);
    put(s, e.name.size(), 2);
    put(s, zip64 ? 28 : 0, 2);
    put(s, 0, 2);
    put(s, 0, 2);
    put(s, 0, 2);
    put(s, 0644u << 16, 4);
    put(s, zip64 ? full32 : e.at, 4);
    s += e.name;
    if (zip64) {
      put(s, 1, 2);
      put(s, 24, 2);
      put(s, e.size, 8);
      put(s, e.packed, 8);
      put(s, e.at, 8);
    }
    file_.write(s);
  }
  const uint64_t end = file_.position(), count = entries_.size();
  std::string s;
  const bool zip64 = count >= 0xffff || start >= full32 || end - start >= full32;
  if (zip64) {
    put(s, end64_mark, 4);
    put(s, 44, 8);
    put(s, 45, 2);
    put(s, 45, 2);
    put(s, 0, 4);
    put(s, 0, 4);
    put(s, count, 8);
    put(s, count, 8);
    put(s, end - start, 8);
    put(s, start, 8);
    put(s, locator64_mark, 4);
    put(s, 0, 4);
    put(s, end, 8);
    put(s, 1, 4);
  }
  put(s, end_mark, 4);
  put(s, 0, 4);
  put(s, zip64 ? 0xffff : count, 2);
  put(s, zip64 ? 0xffff : count, 2);
  put(s, zip64 ? full32 : end - start, 4);
  put(s, zip64 ? full32 : start, 4);
  put(s, 0, 2);
  file_.write(s);
}

}  // namespace tandem::detail
