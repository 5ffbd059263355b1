#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/io/file.h"

namespace tandem::detail {

/// One member of a zip archive, from its central directory.
struct ZipEntry {
  std::string name;
  uint64_t data_at = 0;  ///< where its bytes start in the archive
  uint64_t packed = 0, size = 0;
  uint32_t crc = 0;
  bool deflated = false;
};

/// The directory of an archive: stored and deflated members, zip64, comments. Source: PKWARE
/// APPNOTE 6.3.10, sections 4.3 and 4.5.3. Errors: IOError with the offset.
TANDEM_API std::vector<ZipEntry> read_zip(const Source& source);
/// The bytes of a member, checked against its CRC. Stored members are not copied: the result is
/// then a part of `source`.
TANDEM_API Source open_entry(const Source& source, const ZipEntry& entry);

/// Writes an archive; zip64 fields appear only where they are needed. Dates are 1980-01-01, so that
/// equal members give equal files.
class TANDEM_API ZipWriter {
 public:
  ZipWriter(AtomicFile& file, bool deflate) : file_(file), deflate_(deflate) {}
  /// The bytes of a member are `head` then `body`.
  void add(std::string_view name, std::string_view head, std::string_view body);
  void finish();

 private:
  struct Entry {
    std::string name;
    uint64_t at, packed, size;
    uint32_t crc;
    bool deflated;
  };
  AtomicFile& file_;
  bool deflate_;
  std::vector<Entry> entries_;
};

}  // namespace tandem::detail
