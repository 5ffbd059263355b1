#include "tandem/core/parameters.h"

#include <mutex>
#include <unordered_set>

namespace tandem::detail {
namespace {

struct Living {
  std::mutex mutex;
  std::unordered_set<const TensorImpl*> all;
};
/// Never destroyed: parameters of static storage outlive it else.
Living& living() {
  static auto* const it = new Living;
  return *it;
}

}  // namespace

void remember_parameter(const Tensor& t) try {
  if (t.impl()->has(TensorImpl::parameter)) return;
  const std::lock_guard lock(living().mutex);
  living().all.insert(t.impl());
  t.impl()->flags |= TensorImpl::parameter;
} catch (const std::bad_alloc&) {
  rethrow_for("parameter()");
}

void forget_parameter(const TensorImpl* impl) noexcept {
  const std::lock_guard lock(living().mutex);
  living().all.erase(impl);
}

bool is_parameter(const TensorImpl* impl) {
  const std::lock_guard lock(living().mutex);
  return living().all.contains(impl);
}

}  // namespace tandem::detail
