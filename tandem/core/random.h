#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

#include "tandem/core/tensor.h"

namespace tandem {

/// One block of Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3", 2011): four words from a 64-bit key and a 128-bit counter. Any block can be made on
/// its own, so that numbers do not depend on threads or vector widths.
struct Philox {
  static constexpr uint32_t mul0 = 0xD2511F53, mul1 = 0xCD9E8D57;
  static constexpr uint32_t weyl0 = 0x9E3779B9, weyl1 = 0xBB67AE85;

  static constexpr void round(uint32_t (&c)[4], uint32_t k0, uint32_t k1) {
    const uint64_t a = uint64_t(mul0) * c[0], b = uint64_t(mul1) * c[2];
    const uint32_t c1 = c[1], c3 = c[3];
    c[0] = uint32_t(b >> 32) ^ c1 ^ k0;
    c[1] = uint32_t(b);
    c[2] = uint32_t(a >> 32) ^ c3 ^ k1;
    c[3] = uint32_t(a);
  }
  static constexpr void block(uint64_t key, uint32_t (&counter)[4]) {
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (int i = 0; i < 10; ++i, k0 += weyl0, k1 += weyl1) round(counter, k0, k1);
  }
};

/// A stream of random numbers: a seed, and how many draws were made. Each draw of a tensor takes
/// the next offset; within it, element i depends on i alone. Safe to use from several threads.
class TANDEM_API Generator {
 public:
  explicit Generator(uint64_t seed = 0);
  Generator(const Generator& o);
  Generator& operator=(const Generator& o);
  ~Generator();

  uint64_t seed() const { return stream_->seed.load(std::memory_order_relaxed); }
  uint64_t offset() const { return stream_->offset.load(std::memory_order_relaxed); }
  /// Starts over with a seed.
  void manual_seed(uint64_t seed);
  /// The key of the next draw, i64[2] = (seed, offset): input of the random ops.
  Tensor next_key();
  /// Makes the draw of this key the next one again, unless there were others since.
  void take_back(const Tensor& key) noexcept;
  /// i64[2] = (seed, offset); `set_state` with it repeats everything drawn since.
  Tensor state() const;
  /// Errors: ShapeError, DTypeError unless `state` is i64[2].
  void set_state(const Tensor& state);

  /// The one other generator with the stream of this one, for graphs: it stays when this one goes.
  std::shared_ptr<Generator> twin();
  /// False when the generator whose twin this is was destroyed.
  bool is_owned() const { return stream_->owned.load(std::memory_order_relaxed); }

 private:
  /// Whether the code under capture made it, and so makes it anew whenever it runs: then its keys
  /// are numbers.
  bool own_of_capture() const;
  struct Stream {
    std::atomic<uint64_t> seed, offset{0};
    std::atomic<bool> owned{true};
    const void* made_in = nullptr;
    std::weak_ptr<Generator> twin;
  };
  explicit Generator(std::shared_ptr<Stream> stream) : stream_(std::move(stream)), owns_(false) {}

  std::shared_ptr<Stream> stream_;
  bool owns_ = true;
};

namespace detail {
/// The key of a draw. It is taken back when the op that it is for throws: a retry draws the same.
class Draw {
 public:
  explicit Draw(Generator& generator)
      : generator_(generator), before_(std::uncaught_exceptions()), key_(generator.next_key()) {}
  ~Draw() {
    if (std::uncaught_exceptions() > before_) generator_.take_back(key_);
  }
  Draw(const Draw&) = delete;
  Draw& operator=(const Draw&) = delete;
  const Tensor& key() const { return key_; }

 private:
  Generator& generator_;
  int before_;
  Tensor key_;
};
}  // namespace detail

/// The generator that `rand`, `dropout` and their kin use when none is given. It starts with seed 0
/// in every process: the same program draws the same numbers.
TANDEM_API Generator& default_generator();
/// Starts the default generator over.
inline void manual_seed(uint64_t seed) { default_generator().manual_seed(seed); }

}  // namespace tandem
