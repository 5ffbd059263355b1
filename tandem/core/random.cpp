#include "tandem/core/random.h"

#include <mutex>

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

Generator::Generator(uint64_t seed) : stream_(std::make_shared<Stream>()) {
  stream_->seed = seed;
  if (detail::modes & Modes::capture) stream_->made_in = detail::capturing;
}
Generator::Generator(const Generator& o) : Generator(o.seed()) { stream_->offset = o.offset(); }
Generator& Generator::operator=(const Generator& o) {
  stream_->seed = o.seed();
  stream_->offset = o.offset();
  return *this;
}
Generator::~Generator() {
  if (owns_) stream_->owned = false;
}

void Generator::manual_seed(uint64_t seed) {
  if (!own_of_capture()) detail::refuse_in_compiled("manual_seed()");
  stream_->seed = seed;
  stream_->offset = 0;
}

bool Generator::own_of_capture() const {
  return stream_->made_in && (detail::modes & Modes::capture) &&
         stream_->made_in == detail::capturing;
}

std::shared_ptr<Generator> Generator::twin() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  std::shared_ptr<Generator> t = stream_->twin.lock();
  if (!t) stream_->twin = t = std::shared_ptr<Generator>(new Generator(stream_));
  return t;
}

Tensor Generator::next_key() {
  if ((detail::modes & Modes::capture) && !own_of_capture()) return detail::captured_key(*this);
  return key_of(seed(), [&] { return stream_->offset.fetch_add(1, std::memory_order_relaxed); });
}

void Generator::take_back(const Tensor& key) noexcept {
  if (key.is_symbolic()) return;
  const auto* p = reinterpret_cast<const int64_t*>(key.impl()->data);
  uint64_t next = uint64_t(p[1]) + 1;
  if (seed() == uint64_t(p[0])) stream_->offset.compare_exchange_strong(next, uint64_t(p[1]));
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
  stream_->seed = uint64_t(p[0]);
  stream_->offset = uint64_t(p[state.strides()[0]]);
}

Generator& default_generator() {
  static Generator generator(0);
  return generator;
}

}  // namespace tandem
