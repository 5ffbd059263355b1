#pragma once
#include <cstdint>
#include <memory>

#include "tandem/io/file.h"

namespace tandem::detail {

/// Reads a gzip stream (RFC 1952) piece by piece, members one after the other, check sums verified.
class TANDEM_API GzReader {
 public:
  /// True when the bytes start like a gzip stream.
  static bool matches(std::span<const uint8_t> bytes);
  explicit GzReader(const Source& source);
  ~GzReader();
  GzReader(const GzReader&) = delete;
  GzReader& operator=(const GzReader&) = delete;

  /// Up to `bytes` of the content; fewer only at its end. Errors: IOError for damaged or cut
  /// streams.
  size_t read(uint8_t* to, size_t bytes);
  /// Where in the compressed bytes the reader stands.
  uint64_t position() const;
  /// The most bytes that can still come: deflate gains at most a factor 1032.
  uint64_t most_left() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tandem::detail
