#include "tandem/backend/cpu/threads.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <thread>
#include <vector>

#include "tandem/core/threads.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace tandem::cpu {
namespace {

constexpr int max_threads = 1024;
constexpr int chunks_per_thread = 8;

// "4" or OpenMP's nested form "4,2"; 0 when the variable is missing or is not a number.
int from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (end == text || (*end != '\0' && *end != ',') || value < 1) return 0;
  return static_cast<int>(std::min<long>(value, max_threads));
}

#ifdef __linux__
// With OMP_PROC_BIND the runtime has already nailed this thread to one place: ask for all places.
bool allowed_cpus(cpu_set_t& set) {
  CPU_ZERO(&set);
  const int places = omp_get_proc_bind() == omp_proc_bind_false ? 0 : omp_get_num_places();
  if (places == 0) return sched_getaffinity(0, sizeof set, &set) == 0;
  for (int place = 0; place < places; ++place) {
    std::vector<int> ids(static_cast<size_t>(std::max(0, omp_get_place_num_procs(place))));
    if (!ids.empty()) omp_get_place_proc_ids(place, ids.data());
    for (const int id : ids) {
      if (id >= 0 && id < CPU_SETSIZE) CPU_SET(id, &set);
    }
  }
  return CPU_COUNT(&set) > 0;
}

// A core is counted at the first of its hardware threads that this process may use.
bool first_allowed_sibling(int cpu, const cpu_set_t& allowed) {
  char path[96];
  std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                cpu);
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return true;
  bool first = true;
  int lo = 0;
  while (first && std::fscanf(file, "%d", &lo) == 1) {
    int hi = lo;
    int separator = std::fgetc(file);
    if (separator == '-') {
      if (std::fscanf(file, "%d", &hi) != 1) break;
      separator = std::fgetc(file);
    }
    for (int i = lo; i <= hi && i < cpu; ++i) {
      if (i < CPU_SETSIZE && CPU_ISSET(i, &allowed)) first = false;
    }
    if (separator != ',') break;
  }
  std::fclose(file);
  return first;
}
#endif

int physical_cores() {
  const int logical = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#ifdef __linux__
  cpu_set_t allowed;
  if (!allowed_cpus(allowed)) return logical;
  int cores = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && first_allowed_sibling(cpu, allowed)) ++cores;
  }
  return std::clamp(cores, 1, max_threads);
#else
  return std::min(logical, max_threads);
#endif
}

int default_threads() {
  if (const int n = from_environment("TANDEM_NUM_THREADS")) return n;
  if (const int n = from_environment("OMP_NUM_THREADS")) return n;
  return physical_cores();
}

std::atomic<int> g_threads{0};  // 0: ask default_threads() at first use
constinit thread_local bool g_single_thread __attribute__((tls_model("initial-exec"))) = false;

}  // namespace

int num_threads() noexcept {
  const int n = g_threads.load(std::memory_order_relaxed);
  if (n > 0) return n;
  static const int by_default = default_threads();
  return by_default;
}

void set_num_threads(int n) noexcept {
  g_threads.store(std::clamp(n, 0, max_threads), std::memory_order_relaxed);
}

namespace detail {

bool may_fork() noexcept { return num_threads() > 1 && !g_single_thread && omp_in_parallel() == 0; }

namespace {
struct alignas(64) Share {
  std::atomic<int64_t> next;
  int64_t end;
};
}  // namespace

// Every thread begins with the same part of the range in every call, so that what it wrote in one
// op is in its own cache for the next; who is done takes chunks from the others.
void run_chunks(int64_t n, int64_t grain, ChunkFn fn, void* body) {
  const int threads = num_threads();
  const int64_t wanted = int64_t{chunks_per_thread} * threads;
  const int64_t chunk =
      std::max({(n + wanted - 1) / wanted, grain / chunks_per_thread, int64_t{1}});
  const int64_t chunks = (n + chunk - 1) / chunk;
  constexpr int most = 64;
  const int shares = std::min(threads, most);
  alignas(Share) std::byte memory[most * sizeof(Share)];
  Share* const share = reinterpret_cast<Share*>(memory);
  for (int i = 0; i < shares; ++i)
    new (share + i) Share{{chunks * i / shares}, chunks * (i + 1) / shares};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  // The team is always whole: libgomp ends and restarts workers when its size changes.
#pragma omp parallel num_threads(threads)
  {
    const int first = omp_get_thread_num() % shares;
    for (int v = 0; v < shares; ++v) {
      Share& from = share[first + v < shares ? first + v : first + v - shares];
      for (;;) {
        if (failed.load(std::memory_order_relaxed)) break;
        if (v > 0 && from.next.load(std::memory_order_relaxed) >= from.end) break;
        const int64_t i = from.next.fetch_add(1, std::memory_order_relaxed);
        if (i >= from.end) break;
        try {
          fn(body, i * chunk, std::min(n, (i + 1) * chunk));
        } catch (...) {
          if (!failed.exchange(true)) error = std::current_exception();
        }
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace detail

OmpScope::OmpScope() noexcept : before_(0) {
  const int now = omp_get_max_threads();
  const int wanted = usable_threads();
  if (now == wanted) return;
  before_ = now;
  omp_set_num_threads(wanted);
}

OmpScope::~OmpScope() {
  if (before_ > 0) omp_set_num_threads(before_);
}

}  // namespace tandem::cpu

namespace tandem {

int num_threads() { return cpu::num_threads(); }
void set_num_threads(int n) { cpu::set_num_threads(n); }

SingleThread::SingleThread() : before_(cpu::g_single_thread) { cpu::g_single_thread = true; }
SingleThread::~SingleThread() { cpu::g_single_thread = before_; }

}  // namespace tandem
