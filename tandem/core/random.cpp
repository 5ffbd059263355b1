#include "tandem/core/random.h"

#include "tandem/core/captured.h"
#include "tandem/core/modes.h"

namespace tandem {
namespace {

/// i64[2]: the seed, and what `offset` gives once there is memory for it.
template <class F>
Tensor key_of(uint64_t seed, F&& offset) {
  Tensor t = empty({2}, i64);
  int64_t* p = t.data<int64_t>();
  p[0] = int64_t(seed);
  p[1] = int64_t(offset());
  return t;
}

}  // namespace

Tensor Generator::next_key() {
  if (detail::modes & Modes::capture) return detail::captured_key(*this);
  return key_of(seed(), [&] { return offset_.fetch_add(1, std::memory_order_relaxed); });
}

void Generator::take_back(const Tensor& key) noexcept {
  if (key.is_symbolic()) return;
  const auto* p = reinterpret_cast<const int64_t*>(key.impl()->data);
  uint64_t next = uint64_t(p[1]) + 1;
  if (seed() == uint64_t(p[0])) offset_.compare_exchange_strong(next, uint64_t(p[1]));
}

Tensor Generator::state() const {
  return key_of(seed(), [&] { return offset(); });
}

void Generator::set_state(const Tensor& state) {
  require<ShapeError>(state.shape() == Shape{2},
                      "set_state(): the state of a generator is i64[2], "
                      "got ",
                      state.spec());
  const int64_t* p = state.data<int64_t>();
  seed_ = uint64_t(p[0]);
  offset_ = uint64_t(p[state.strides()[0]]);
}

Generator& default_generator() {
  static Generator generator(0);
  return generator;
}

}  // namespace tandem
