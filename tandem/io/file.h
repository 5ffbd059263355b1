#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tandem/core/tensor.h"

namespace tandem {

/// A whole file seen as memory. Writes to it stay private to the process. The file must not be cut
/// while it is mapped; files replaced by `AtomicFile` are safe, they are new files.
class TANDEM_API MappedFile {
 public:
  /// Errors: IOError when the file cannot be opened or is no plain file.
  static std::shared_ptr<MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<uint8_t> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile() = default;
  std::string path_;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes a file that appears whole or not at all: a file without a name, or under a hidden one
/// where the file system has no other, is filled, brought to disk and renamed by `commit()`. Until
/// then, whatever happens, the old file stays. What a killed process left under a hidden name is
/// removed by the next save in that folder.
class TANDEM_API AtomicFile {
 public:
  /// Errors: IOError when the folder cannot be written.
  explicit AtomicFile(const std::string& path);
  /// Removes what was written unless `commit()` has run.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Errors: IOError, such as a full disk.
  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// How many bytes were written so far.
  uint64_t position() const { return position_; }
  /// Brings what was written to disk, so that `commit()` has no more to do than to give the name.
  /// Errors: IOError.
  void sync();
  /// Errors: IOError; the old file is then untouched.
  void commit();

 private:
  void flush();
  bool open_hidden();
  [[noreturn]] void fail(const char* what);

  std::string path_, temporary_;  ///< temporary_ is empty while the file has no name
  std::unique_ptr<uint8_t[]> buffer_;
  size_t buffered_ = 0;
  uint64_t position_ = 0;
  int fd_ = -1;
  bool synced_ = false;
};

namespace detail {

/// Bytes being parsed, and what to call them in errors.
struct TANDEM_API Source {
  std::span<const uint8_t> bytes;
  std::string_view name;             ///< "load_npy(x.npy)"
  std::shared_ptr<void> owner = {};  ///< keeps `bytes` alive; null: tensors copy

  /// Throws an IOError "NAME: byte AT: text".
  [[noreturn]] void fail(uint64_t at, const std::string& text) const;
  template <class... A>
  void check(bool ok, uint64_t at, const A&... a) const {
    if (!ok) [[unlikely]]
      fail(at, cat(a...));
  }
  /// The little-endian number at `at`; IOError when it is cut off.
  template <class T>
  T number(uint64_t at) const {
    check(at <= bytes.size() && bytes.size() - at >= sizeof(T), at,
          "the file ends inside a field of ", sizeof(T), " bytes (it has ", bytes.size(),
          " bytes)");
    T v = 0;
    for (size_t i = 0; i < sizeof(T); ++i) v = T(v | T(T(bytes[size_t(at) + i]) << (8 * i)));
    return v;
  }
};

/// Bytes of a tensor, or false when they pass 2^62; sizes must not be negative.
TANDEM_API bool checked_bytes(const Shape& shape, int64_t item, int64_t& out);
/// A row-major tensor over, or a copy of, the bytes at `at`: over them when the source has an owner
/// and they are aligned. Booleans other than 0 and 1 become 1, in a copy.
TANDEM_API Tensor tensor_from(const Source& source, uint64_t at, const Shape& shape, DType dtype);
/// Row-major bytes of a tensor on the CPU. Errors: DeviceError, GradientError when symbolic.
TANDEM_API Tensor plain_tensor(const Tensor& t, std::string_view what);

}  // namespace detail
}  // namespace tandem
