#pragma once
#include <memory>
#include <span>
#include <string_view>

#include "tandem/backend/cpu/isa.h"
#include "tandem/core/dtype.h"
#include "tandem/op/lanes.h"

namespace tandem::graph {

/// Whether fused programs are compiled to machine code. At first: unless TANDEM_JIT=0 is in the
/// environment, and, where the library's compiler does not contract products and sums as the
/// machine code does (clang, builds for sanitizers or without optimisation), only if TANDEM_JIT=1
/// is. So results are bit for bit those of the separate kernels unless one asks for something else.
/// Programs that are made already keep what they have.
TANDEM_API bool jit_enabled();
TANDEM_API void set_jit_enabled(bool on);

/// Machine code of a straight-line program over arrays, for AVX-512 or AVX2. Its memory is written
/// first and executable afterwards, never both.
class TANDEM_API Jit {
 public:
  struct Input {
    DType dtype;  ///< f32, or bool, whose lanes are 0 and 1
    bool number;  ///< the same in all lanes
  };
  static constexpr int max_inputs = 24, max_outputs = 8;

  /// Null where there is no such processor, no memory may be made executable, or the program needs
  /// more than the code generator has. `streaming`: results are stored past the caches.
  static std::shared_ptr<const Jit> make(const lanes::Program& program, std::span<const Input> in,
                                         std::span<const DType> out, bool streaming,
                                         cpu::Isa isa = cpu::isa());
  ~Jit();
  Jit(const Jit&) = delete;
  Jit& operator=(const Jit&) = delete;

  /// Computes n elements. `in` has an array each, or null for numbers, whose values are in
  /// `numbers` at the same place. Results may overwrite inputs of the same index.
  void run(const char* const* in, const float* numbers, char* const* out, int64_t n) const;
  /// "avx512" or "avx2"
  std::string_view isa() const { return width_ == 16 ? "avx512" : "avx2"; }

 private:
  using Fn = void (*)(const char* const* in, const float* numbers, char* const* out, int64_t n);
  Jit() = default;
  void run_padded(const char* const* in, const float* numbers, char* const* out, int64_t begin,
                  int64_t n) const;

  Fn plain_ = nullptr, streaming_ = nullptr;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
  int64_t width_ = 0;
  int n_in_ = 0, n_out_ = 0;
  int64_t in_item_[max_inputs] = {}, out_item_[max_outputs] = {};  // 0: a number
};

}  // namespace tandem::graph
