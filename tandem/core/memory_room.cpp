#include "tandem/core/memory_room.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

// Nothing here may ask for memory: it runs when there is none left.

namespace tandem::detail {
namespace {

constexpr int64_t unknown = -1;

/// A path put together in place.
class Path {
 public:
  explicit Path(std::string_view text) { add(text); }
  Path& add(std::string_view text) {
    const size_t n = std::min(text.size(), text_.size() - 1 - size_);
    std::memcpy(text_.data() + size_, text.data(), n);
    size_ += n;
    text_[size_] = 0;
    return *this;
  }
  void cut(size_t size) { text_[size_ = size] = 0; }
  size_t size() const { return size_; }
  const char* c_str() const { return text_.data(); }
  std::string_view view() const { return {text_.data(), size_}; }

 private:
  std::array<char, 1024> text_{};
  size_t size_ = 0;
};

/// The first 16 KiB of a file; empty when it cannot be read.
class Text {
 public:
  explicit Text(const char* path) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    while (size_ < text_.size()) {
      const ssize_t n = ::read(fd, text_.data() + size_, text_.size() - size_);
      if (n <= 0) break;
      size_ += size_t(n);
    }
    ::close(fd);
  }
  std::string_view view() const { return {text_.data(), size_}; }

  /// The number behind the line's first word, `unknown` when there is no such line.
  int64_t number(std::string_view word) const {
    std::string_view rest = view();
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      if (line.starts_with(word) && line.size() > word.size() &&
          (line[word.size()] == ' ' || line[word.size()] == '\t'))
        return number_in(line.substr(word.size()));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    }
    return unknown;
  }
  /// The only number of the file; `unknown` for "max".
  int64_t number() const { return number_in(view()); }

 private:
  static int64_t number_in(std::string_view s) {
    size_t i = s.find_first_not_of(" \t");
    if (i == s.npos || s[i] < '0' || s[i] > '9') return unknown;
    int64_t n = 0;
    for (; i < s.size() && s[i] >= '0' && s[i] <= '9'; ++i)
      if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, s[i] - '0', &n))
        return INT64_MAX;
    return n;
  }

  std::array<char, 16384> text_;
  size_t size_ = 0;
};

int64_t number_at(Path& folder, std::string_view file) {
  const size_t before = folder.size();
  const int64_t n = Text(folder.add(file).c_str()).number();
  folder.cut(before);
  return n;
}

void take_less(MemoryRoom& room, int64_t bytes, int64_t limit, const char* what) {
  if (bytes >= room.bytes) return;
  room = {std::max<int64_t>(bytes, 0), limit, what};
}

struct Names {
  std::string_view limit, used, inactive, active, swap_limit, swap_used;
  bool together;  ///< the limit of swap is one of memory and swap
};
constexpr Names version1{"/memory.limit_in_bytes",
                         "/memory.usage_in_bytes",
                         "total_inactive_file",
                         "total_active_file",
                         "/memory.memsw.limit_in_bytes",
                         "/memory.memsw.usage_in_bytes",
                         true};
constexpr Names version2{"/memory.max", "/memory.current",  "inactive_file",
                         "active_file", "/memory.swap.max", "/memory.swap.current",
                         false};

/// The group at `path` below `mount` and those above it, which bind as well. A container often sees
/// its own group as the mount itself, under another path than the one that /proc tells.
void look_at_groups(MemoryRoom& room, const Path& mount, std::string_view path, const Names& names,
                    int64_t swap) {
  constexpr int64_t no_limit = int64_t(1) << 60;
  Path folder = mount;
  folder.add(path == "/" ? "" : path);
  for (;;) {
    const int64_t limit = number_at(folder, names.limit), used = number_at(folder, names.used);
    if (limit >= 0 && limit < no_limit && used >= 0) {
      const size_t before = folder.size();
      const Text stat(folder.add("/memory.stat").c_str());
      folder.cut(before);
      const int64_t files = std::max<int64_t>(stat.number(names.inactive), 0) +
                            std::max<int64_t>(stat.number(names.active), 0);
      int64_t more = swap;  // what may go there
      if (const int64_t most = number_at(folder, names.swap_limit); most >= 0) {
        const int64_t swapped = std::max<int64_t>(number_at(folder, names.swap_used), 0);
        more = std::clamp<int64_t>(most - swapped - (names.together ? limit - used : 0), 0, swap);
      }
      take_less(room, limit - used + std::min(files, used) + more, limit, "the control group");
    }
    if (folder.size() <= mount.size()) return;
    folder.cut(std::max(folder.view().rfind('/'), mount.size()));
  }
}

}  // namespace

MemoryRoom memory_room(const char* root) {
  MemoryRoom room;
  const Text machine(Path(root).add("/proc/meminfo").c_str());
  const int64_t total = machine.number("MemTotal:"), available = machine.number("MemAvailable:");
  const int64_t swap = std::max<int64_t>(machine.number("SwapFree:"), 0) * 1024;
  if (total >= 0 && available >= 0)
    take_less(room, available * 1024 + swap, total * 1024, "the machine");

  // Lines "4:memory:/path" and "0::/path".
  const Text groups(Path(root).add("/proc/self/cgroup").c_str());
  std::string_view rest = groups.view();
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string_view kinds = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (kinds.empty()) {
      look_at_groups(room, Path(root).add("/sys/fs/cgroup"), path, version2, swap);
      look_at_groups(room, Path(root).add("/sys/fs/cgroup/unified"), path, version2, swap);
    } else if (kinds == "memory" || kinds.starts_with("memory,") || kinds.ends_with(",memory") ||
               kinds.find(",memory,") != kinds.npos) {
      look_at_groups(room, Path(root).add("/sys/fs/cgroup/memory"), path, version1, swap);
    }
  }
  return room;
}

int64_t resident_bytes(const char* root) {
  const int64_t kib = Text(Path(root).add("/proc/self/status").c_str()).number("RssAnon:");
  return std::max<int64_t>(kib, 0) * 1024;
}

}  // namespace tandem::detail
