#include "tandem/graph/jit.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "tandem/graph/jit_code.h"
#include "tandem/op/stream.h"

#if TANDEM_X86 && defined(__unix__)
#include <sys/mman.h>
#endif

namespace tandem::graph {
namespace {

#if defined(__OPTIMIZE__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
constexpr bool contracts_alike = true;
#else
constexpr bool contracts_alike = false;
#endif

std::atomic<bool>& enabled() {
  static std::atomic<bool> on = [] {
    const char* text = std::getenv("TANDEM_JIT");
    return text ? std::strcmp(text, "0") != 0 : contracts_alike;
  }();
  return on;
}

}  // namespace

bool jit_enabled() { return enabled().load(std::memory_order_relaxed); }
void set_jit_enabled(bool on) { enabled().store(on, std::memory_order_relaxed); }

std::shared_ptr<const Jit> Jit::make(const lanes::Program& program, std::span<const Input> in,
                                     std::span<const DType> out, bool streaming, cpu::Isa isa) {
#if TANDEM_X86 && defined(__unix__)
  if (isa == cpu::Isa::baseline || isa > cpu::isa()) return nullptr;
  if (in.size() > max_inputs || out.size() > max_outputs || out.empty()) return nullptr;
  for (const Input& i : in)
    if (i.dtype != f32 && i.dtype != boolean) return nullptr;
  for (DType d : out)
    if (d != f32 && d != boolean) return nullptr;
  const MachineCode code = generate(program, in, out, streaming, isa);
  if (code.bytes.empty()) return nullptr;
  const size_t page = 4096, bytes = (code.bytes.size() + page - 1) / page * page;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  std::memcpy(memory, code.bytes.data(), code.bytes.size());
  if (mprotect(memory, bytes, PROT_READ | PROT_EXEC) != 0) {
    munmap(memory, bytes);
    return nullptr;
  }
  std::shared_ptr<Jit> jit(new Jit);
  jit->memory_ = memory;
  jit->bytes_ = bytes;
  char* const start = static_cast<char*>(memory);
  jit->plain_ = reinterpret_cast<Fn>(start + code.plain);
  jit->streaming_ = streaming ? reinterpret_cast<Fn>(start + code.streaming) : nullptr;
  jit->width_ = isa == cpu::Isa::avx512 ? 16 : 8;
  jit->n_in_ = int(in.size());
  jit->n_out_ = int(out.size());
  for (size_t i = 0; i < in.size(); ++i)
    jit->in_item_[i] = in[i].number ? 0 : itemsize(in[i].dtype);
  for (size_t i = 0; i < out.size(); ++i) jit->out_item_[i] = itemsize(out[i]);
  return jit;
#else
  (void)program, (void)in, (void)out, (void)streaming, (void)isa;
  return nullptr;
#endif
}

Jit::~Jit() {
#if TANDEM_X86 && defined(__unix__)
  if (memory_) munmap(memory_, bytes_);
#endif
}

/// Less than a register: through arrays of a whole one.
void Jit::run_padded(const char* const* in, const float* numbers, char* const* out, int64_t begin,
                     int64_t n) const {
  alignas(64) char from[max_inputs][64], to[max_outputs][64];
  const char* in_at[max_inputs];
  char* out_at[max_outputs];
  for (int k = 0; k < n_in_; ++k) {
    in_at[k] = from[k];
    if (!in_item_[k]) continue;
    std::memset(from[k], 0, sizeof from[k]);
    std::memcpy(from[k], in[k] + begin * in_item_[k], size_t(n * in_item_[k]));
  }
  for (int k = 0; k < n_out_; ++k) out_at[k] = to[k];
  plain_(in_at, numbers, out_at, width_);
  for (int k = 0; k < n_out_; ++k)
    std::memcpy(out[k] + begin * out_item_[k], to[k], size_t(n * out_item_[k]));
}

void Jit::run(const char* const* in, const float* numbers, char* const* out, int64_t n) const {
  Fn fn = plain_;
  int64_t begin = 0;
  if (streaming_) {
    // Such stores want whole cache lines: what lies before the first one is done by itself.
    const auto phase_of = [&](int k) { return reinterpret_cast<uintptr_t>(out[k]) & 63; };
    uintptr_t phase = 64;
    bool alike = true;
    for (int k = 0; k < n_out_; ++k) {
      if (out_item_[k] != 4) continue;
      alike = alike && (phase == 64 || phase == phase_of(k));
      phase = phase_of(k);
    }
    if (alike && phase < 64 && phase % 4 == 0) {
      fn = streaming_;
      begin = std::min<int64_t>(n, int64_t((64 - phase) % 64 / 4));
      for (int64_t i = 0; i < begin; i += width_)
        run_padded(in, numbers, out, i, std::min(width_, begin - i));
    }
  }
  const int64_t whole = (n - begin) / width_ * width_;
  if (whole) {
    const char* in_at[max_inputs];
    char* out_at[max_outputs];
    for (int k = 0; k < n_in_; ++k) in_at[k] = in[k] ? in[k] + begin * in_item_[k] : nullptr;
    for (int k = 0; k < n_out_; ++k) out_at[k] = out[k] + begin * out_item_[k];
    fn(in_at, numbers, out_at, whole);
  }
  if (begin + whole < n) run_padded(in, numbers, out, begin + whole, n - begin - whole);
}

}  // namespace tandem::graph
