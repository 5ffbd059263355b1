#include "tandem/io/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

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

namespace {

constexpr std::string_view suffix = ".tandem.tmp";
constexpr int hidden_names = 8;

/// "" or the folder with its slash.
std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

std::string hidden_name(const std::string& path, int i) {
  constexpr size_t most = 200;  // of a name's 255 bytes
  const std::string folder = folder_of(path);
  return cat(folder, ".", path.substr(folder.size(), most), ".", i, suffix);
}

/// Removes a file that nobody is writing: writers hold a lock on theirs, which ends with them.
void remove_stale(const char* name) {
  const int fd = ::open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  const Closer closer{fd};
  struct stat info {
  }, named{};
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || ::fstat(fd, &info) != 0) return;
  // The writer may have renamed it meanwhile, and another one taken the name.
  const bool same = ::lstat(name, &named) == 0 && S_ISREG(info.st_mode) &&
                    named.st_ino == info.st_ino && named.st_dev == info.st_dev;
  if (same) ::unlink(name);
}

/// Once a folder and process: what killed processes have left there.
void remove_stale_in(const std::string& folder) {
  static std::mutex mutex;
  static std::vector<std::string>& seen = *new std::vector<std::string>;
  {
    const std::lock_guard lock(mutex);
    if (std::find(seen.begin(), seen.end(), folder) != seen.end()) return;
    seen.push_back(folder);
  }
  DIR* dir = ::opendir(folder.empty() ? "." : folder.c_str());
  if (!dir) return;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name.starts_with('.') && name.ends_with(suffix))
      remove_stale((folder + entry->d_name).c_str());
  }
  ::closedir(dir);
}

/// Holds the file until it is closed. False when somebody took it for stale before.
bool hold(int fd) {
  if (::flock(fd, LOCK_EX) != 0) return true;  // no locks here: then nobody removes it either
  struct stat info {};
  return ::fstat(fd, &info) != 0 || info.st_nlink > 0;
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path)
    : path_(real_target(path)), buffer_(new uint8_t[buffer_bytes]) {
  const std::string folder = folder_of(path_);
  struct stat old {};
  const bool exists = ::stat(path_.c_str(), &old) == 0;
  require<IOError>(!exists || S_ISREG(old.st_mode), "save(", path, "): not a plain file");
  remove_stale_in(folder);
  for (int i = 0; i < hidden_names; ++i) remove_stale(hidden_name(path_, i).c_str());
#ifdef O_TMPFILE
  if (::access("/proc/self/fd", X_OK) == 0)
    fd_ = ::open(folder.empty() ? "." : folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
#endif
  if (fd_ < 0 && !open_hidden()) {
    const int code = errno;
    throw IOError(cat("save(", path, "): cannot create a file beside it: ", system_text(code)));
  }
  if (exists) (void)::fchmod(fd_, old.st_mode & 07777);
}

/// Under the first hidden name that is free.
bool AtomicFile::open_hidden() {
  for (int i = 0;; ++i) {
    temporary_ = hidden_name(path_, i);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0) {
      if (errno == EEXIST && i < 1000) continue;
      temporary_.clear();
      return false;
    }
    if (hold(fd_)) return true;
    ::close(fd_);
    fd_ = -1;
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  ::close(fd_);
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
  synced_ = false;
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

void AtomicFile::sync() {
  require<IOError>(fd_ >= 0, "save(", path_, "): the file is already committed");
  flush();
  if (::fsync(fd_) != 0) fail("cannot bring it to disk");
  synced_ = true;
}

void AtomicFile::commit() {
  if (!synced_) sync();
  if (temporary_.empty()) {
    // A link cannot replace a file: the name is a hidden one first, for an instant.
    hold(fd_);
    const std::string self = cat("/proc/self/fd/", fd_);
    for (int i = 0;; ++i) {
      std::string name = hidden_name(path_, i);
      if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        temporary_ = std::move(name);
        break;
      }
      if (errno != EEXIST || i >= 1000) fail("cannot give it a name");
    }
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename");
  temporary_.clear();
  ::close(fd_);
  fd_ = -1;
  // The rename itself reaches the disk with its folder; file systems that refuse lose nothing else.
  const std::string folder = folder_of(path_);
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
