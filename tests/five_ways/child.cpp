#include "tests/five_ways/child.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <stdexcept>

#include "tests/support/sanitizer.h"

namespace tandem::five_ways {
namespace {

void write_all(int to, const char* data, size_t n) {
  while (n > 0) {
    const ssize_t did = ::write(to, data, n);
    if (did <= 0) _exit(3);
    data += did;
    n -= size_t(did);
  }
}

[[noreturn]] void be_child(int to, const Limits& limits,
                           const std::function<void(const Write&)>& body) {
  const rlimit space{rlim_t(limits.bytes), rlim_t(limits.bytes)}, none{0, 0};
  // Sanitizers map terabytes that nobody uses.
  if (!TANDEM_TEST_SANITIZER) setrlimit(RLIMIT_AS, &space);
  setrlimit(RLIMIT_CORE, &none);
  int code = 0;
  try {
    body([&](const std::string& text) { write_all(to, text.data(), text.size()); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "five_ways: a child ends: %s\n", e.what());
    code = 4;
  }
  std::fflush(nullptr);
  _exit(code);
}

/// What the process has computed so far.
double seconds_of(pid_t process) {
  clockid_t clock;
  timespec time{};
  if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

std::string failure_of(int status, bool late, const Board& board) {
  const std::string doing = std::string(" in ") + board.doing;
  if (late) return "hang" + doing;
  if (WIFSIGNALED(status)) return std::string("crash: ") + strsignal(WTERMSIG(status)) + doing;
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
    return "crash: exit code " + std::to_string(WEXITSTATUS(status)) + doing;
  return "";
}

}  // namespace

Board* Board::make() {
  void* memory =
      mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
  return new (memory) Board;
}

void Board::announce(const std::string& what) {
  const size_t n = std::min(what.size(), sizeof doing - 1);
  std::memcpy(doing, what.data(), n);
  doing[n] = 0;
  ++ticks;
}

Ending in_child(Board& board, const Limits& limits, const std::function<void(const Write&)>& body) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("no pipe");
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("no child process");
  if (child == 0) {
    close(ends[0]);
    be_child(ends[1], limits, body);
  }
  close(ends[1]);
  Ending ending;
  bool late = false;
  uint64_t ticks = board.ticks;
  auto since = std::chrono::steady_clock::now();
  double worked = 0;
  for (;;) {
    pollfd wait{ends[0], POLLIN, 0};
    const int ready = poll(&wait, 1, 100);
    if (ready > 0) {
      char buffer[65536];
      const ssize_t n = read(ends[0], buffer, sizeof buffer);
      if (n <= 0) break;
      ending.output.append(buffer, size_t(n));
    }
    // Its own work counts: other processes may hold it up. Who only sleeps has some patience more.
    const auto now = std::chrono::steady_clock::now();
    const double work = seconds_of(child);
    if (const uint64_t t = board.ticks; t != ticks) {
      ticks = t;
      since = now;
      worked = work;
    }
    if (work - worked > limits.seconds ||
        std::chrono::duration<double>(now - since).count() > 20 * limits.seconds) {
      late = true;
      kill(child, SIGKILL);
      break;
    }
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  ending.failure = failure_of(status, late, board);
  return ending;
}

}  // namespace tandem::five_ways
