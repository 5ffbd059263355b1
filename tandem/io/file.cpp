#include "tandem/io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tandem/op/copy.h"

namespace tandem {

namespace {

constexpr size_t buffer_bytes = size_t(1) << 16;

std::string system_text(int code) {
  char text[128] = {};
  // glibc's strerror_r may return its own string instead of filling the buffer.
  const char* p = strerror_r(code, text, sizeof text);
  return p;
}

struct Closer {
  int fd;
  ~Closer() { ::close(fd); }
};

/// The file behind symbolic links, so that a rename replaces it and not the link.
std::string real_target(const std::string& path) {
  char* found = ::realpath(path.c_str(), nullptr);
  if (!found) return path;
  std::string real = found;
  std::free(found);
  return real;
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  const auto check = [&](bool ok, const char* what) {
    if (!ok) throw IOError(cat("open(", path, "): ", what, ": ", system_text(errno)));
  };
  // A pipe without a writer would hold an opening without this flag for ever.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  check(fd >= 0, "cannot open for reading");
  const Closer closer{fd};
  struct stat info {};
  check(::fstat(fd, &info) == 0, "cannot ask for the size");
  require<IOError>(S_ISREG(info.st_mode), "open(", path, "): not a plain file");
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  if (info.st_size > 0) {
    void* p = ::mmap(nullptr, size_t(info.st_size), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    check(p != MAP_FAILED, "cannot map");
    file->data_ = static_cast<uint8_t*>(p);
    file->size_ = size_t(info.st_size);
  }
  return file;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

AtomicFile::AtomicFile(const std::string& path)
    : path_(real_target(path)), buffer_(new uint8_t[buffer_bytes]) {
  static std::atomic<uint32_t> counter{0};
  const size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path_.substr(0, slash + 1);
  struct stat old {};
  const bool exists = ::stat(path_.c_str(), &old) == 0;
  require<IOError>(!exists || S_ISREG(old.st_mode), "save(", path, "): not a plain file");
  do {
    temporary_ = cat(folder, ".", path_.substr(folder.size()), ".", int64_t(::getpid()), ".",
                     counter.fetch_add(1), ".tmp");
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) {
    const int code = errno;
    throw IOError(cat("save(", path, "): cannot create a file beside it: ", system_text(code)));
  }
  if (exists) (void)::fchmod(fd_, old.st_mode & 07777);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* what) {
  const int code = errno;
  throw IOError(cat("save(", path_, "): byte ", position_, ": ", what, ": ", system_text(code)));
}

void AtomicFile::flush() {
  for (size_t done = 0; done < buffered_;) {
    const ssize_t n = ::write(fd_, buffer_.get() + done, buffered_ - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot write");
    done += size_t(n);
  }
  buffered_ = 0;
}

void AtomicFile::write(const void* data, size_t bytes) {
  require<IOError>(fd_ >= 0, "save(", path_, "): the file is already committed");
  const auto* p = static_cast<const uint8_t*>(data);
  while (bytes > 0) {
    if (buffered_ == buffer_bytes) flush();
    if (buffered_ == 0 && bytes >= buffer_bytes) {
      const ssize_t n = ::write(fd_, p, bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot write");
      p += n;
      bytes -= size_t(n);
      position_ += uint64_t(n);
      continue;
    }
    const size_t n = std::min(bytes, buffer_bytes - buffered_);
    std::memcpy(buffer_.get() + buffered_, p, n);
    buffered_ += n;
    p += n;
    bytes -= n;
    position_ += n;
  }
}

void AtomicFile::commit() {
  require<IOError>(fd_ >= 0, "save(", path_, "): the file is already committed");
  flush();
  if (::fsync(fd_) != 0) fail("cannot bring it to disk");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename");
  ::close(fd_);
  fd_ = -1;
  // The rename itself reaches the disk with its folder; file systems that refuse lose nothing else.
  const size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    (void)::fsync(fd);
    ::close(fd);
  }
}

namespace detail {

void Source::fail(uint64_t at, const std::string& text) const {
  throw IOError(cat(name, ": byte ", int64_t(at), ": ", text));
}

bool checked_bytes(const Shape& shape, int64_t item, int64_t& out) {
  constexpr int64_t limit = int64_t(1) << 62;
  bool zero = false;
  int64_t n = item;
  for (int64_t d : shape) {
    if (d < 0) return false;
    zero |= d == 0;
    // A zero elsewhere does not excuse sizes whose strides overflow.
    if (d > 0 && n > limit / d) return false;
    if (d > 0) n *= d;
  }
  out = zero ? 0 : n;
  return true;
}

Tensor tensor_from(const Source& source, uint64_t at, const Shape& shape, DType dtype) {
  const int64_t n = shape.numel();
  const uint8_t* data = source.bytes.data() + at;
  bool clean = true;
  if (dtype == boolean)
    for (int64_t i = 0; i < n; ++i) clean &= data[i] <= 1;
  const bool aligned = reinterpret_cast<uintptr_t>(data) % size_t(itemsize(dtype)) == 0;
  if (source.owner && aligned && clean && n > 0)
    return wrap(const_cast<uint8_t*>(data), shape, dtype, source.owner);
  Tensor t = empty(shape, dtype);
  if (n > 0) std::memcpy(t.raw_data(), data, size_t(n * itemsize(dtype)));
  if (!clean) {
    auto* p = static_cast<uint8_t*>(t.raw_data());
    for (int64_t i = 0; i < n; ++i) p[i] = p[i] != 0;
  }
  return t;
}

Tensor plain_tensor(const Tensor& t, std::string_view what) {
  require<ValueError>(t.defined(), what, ": the tensor is undefined");
  require<GradientError>(!t.is_symbolic(), what,
                         ": a value of a graph has no data; run the graph first");
  require<DeviceError>(t.device().type == DeviceType::cpu, what, ": the tensor is on ", t.device(),
                       ", not on the CPU");
  return as_contiguous(t);
}

}  // namespace detail
}  // namespace tandem
