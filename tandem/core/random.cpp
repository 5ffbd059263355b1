#include "tandem/core/random.h"

#include "tandem/core/captured.h"
#include "tandem/core/modes.h"

namespace tandem {
namespace {

Tensor key_of(uint64_t seed, uint64_t offset) {
  Tensor t = empty({2}, i64);
  int64_t* p = t.data<int64_t>();
  p[0] = int64_t(seed);
  p[1] = int64_t(offset);
  return t;
}

}  // namespace

Tensor Generator::next_key() {
  if (detail::modes & Modes::capture) return detail::captured_key(*this);
  return key_of(seed(), offset_.fetch_add(1, std::memory_order_relaxed));
}

Tensor Generator::state() const { return key_of(seed(), offset()); }

void Generator::set_state(const Tensor& state) {
  require<ShapeError>(state.shape() == Shape{2},
                      "set_state(): the state of a generator is i64[2], "
                      "got ",
                      to_string(state.spec()));
  const int64_t* p = state.data<int64_t>();
  seed_ = uint64_t(p[0]);
  offset_ = uint64_t(p[state.strides()[0]]);
}

Generator& default_generator() {
  static Generator generator(0);
  return generator;
}

}  // namespace tandem
