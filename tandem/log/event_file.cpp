#include "tandem/log/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <system_error>
#include <utility>

#include "tandem/core/error.h"

namespace tandem {

namespace {

constexpr size_t most_buffered = size_t(1) << 16;

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0u);
    table[i] = c;
  }
  return table;
}
constexpr std::array<uint32_t, 256> crc_table = make_table();

/// The checksum of a checksum is weak, so the format stores it turned and shifted.
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t c = crc32c(bytes);
  return ((c >> 15) | (c << 17)) + 0xA282EAD8u;
}

template <class T>
void append_number(std::string& to, T v) {
  for (size_t i = 0; i < sizeof(T); ++i) to += char(v >> (8 * i) & 0xFF);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t c = 0xFFFFFFFFu;
  for (char b : bytes) c = (c >> 8) ^ crc_table[(c ^ uint8_t(b)) & 0xFF];
  return ~c;
}

RecordWriter::RecordWriter(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("cannot make the file");
}

RecordWriter::~RecordWriter() {
  try {
    close();
  } catch (const IOError&) {}
}

void RecordWriter::fail(const char* what) {
  const int code = errno;
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  buffer_.clear();
  throw IOError(cat("RecordWriter(", path_, "): byte ", position_, ": ", what, ": ",
                    std::generic_category().message(code)));
}

void RecordWriter::write(std::string_view record) {
  require<IOError>(fd_ >= 0, "RecordWriter(", path_, "): the file is closed");
  std::string length;
  append_number(length, uint64_t(record.size()));
  buffer_ += length;
  append_number(buffer_, masked_crc(length));
  buffer_ += record;
  append_number(buffer_, masked_crc(record));
  if (buffer_.size() >= most_buffered) flush();
}

void RecordWriter::flush() {
  for (size_t done = 0; done < buffer_.size();) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot write");
    done += size_t(n);
    position_ += uint64_t(n);
  }
  buffer_.clear();
}

void RecordWriter::close() {
  if (fd_ < 0) return;
  flush();
  // Network file systems tell of a full disk only here.
  const int code = ::close(std::exchange(fd_, -1));
  if (code != 0 && errno != EINTR) fail("cannot close");
}

}  // namespace tandem
