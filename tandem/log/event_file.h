#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "tandem/core/export.h"

namespace tandem {

/// CRC-32C (Castagnoli polynomial) of the bytes: RFC 3720, appendix B.4.
TANDEM_API uint32_t crc32c(std::string_view bytes);

/// Writes a new file of length-framed records, each with its checksums: TensorFlow's TFRecord
/// format, which event files use too. Records are gathered and reach the file by `flush`, or when
/// there are many bytes of them; a reader beside the writer sees whole records up to the last
/// flush.
class TANDEM_API RecordWriter {
 public:
  /// Errors: IOError when the file exists already or cannot be made.
  explicit RecordWriter(std::string path);
  /// Writes what is left; an error is lost here, `close` tells of it.
  ~RecordWriter();
  RecordWriter(const RecordWriter&) = delete;
  RecordWriter& operator=(const RecordWriter&) = delete;

  /// Errors: IOError, such as a full disk; after one the file takes no more records.
  void write(std::string_view record);
  /// Hands everything to the operating system. Errors: IOError.
  void flush();
  /// Flushes; the file takes no more records. Errors: IOError.
  void close();
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void fail(const char* what);

  std::string path_, buffer_;
  uint64_t position_ = 0;  // bytes that are in the file
  int fd_ = -1;
};

}  // namespace tandem
