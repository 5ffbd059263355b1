#pragma once
#include <vector>

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"

namespace tandem {

/// TensorFlow's way of asking for gradients, on the same engine:
///
///     GradientTape tape;
///     tape.watch(x);
///     Tensor y = x * x;
///     Tensor dy_dx = tape.gradient(y, x);
///
/// While it lives, gradients are recorded, also inside a NoGrad; tapes may be nested for higher
/// derivatives. A tape that is not persistent gives gradients once.
class GradientTape {
 public:
  explicit GradientTape(bool persistent = false) : persistent_(persistent) {}
  ~GradientTape() {
    for (Tensor& t : watched_) t.requires_grad_(false);
  }
  GradientTape(const GradientTape&) = delete;
  GradientTape& operator=(const GradientTape&) = delete;

  /// Gradients by `t` are wanted while the tape lives. Errors: DTypeError for integers.
  void watch(Tensor t) {
    if (t.requires_grad()) return;
    t.requires_grad_();
    watched_.push_back(std::move(t));
  }

  /// d(sum of target)/d(source) for each source; undefined where the target does not depend on it.
  /// Errors: GradientError for a source that was not watched, and for the second call of a tape
  /// that is not persistent.
  std::vector<Tensor> gradient(const Tensor& target, const std::vector<Tensor>& sources) {
    require<GradientError>(!used_ || persistent_,
                           "GradientTape::gradient(): a tape that is not persistent gives "
                           "gradients once");
    used_ = true;
    const Tensor seed = full_like(target, 1);
    const Tensors found = grad({&target, 1}, {sources.data(), sources.size()}, {&seed, 1},
                               {.retain_graph = true, .create_graph = true, .allow_unused = true});
    return {found.begin(), found.end()};
  }
  Tensor gradient(const Tensor& target, const Tensor& source) {
    return gradient(target, std::vector<Tensor>{source})[0];
  }

 private:
  EnableGrad on_;
  bool persistent_, used_ = false;
  std::vector<Tensor> watched_;
};

}  // namespace tandem
