#include "tandem/optim/clip.h"

#include <cmath>

#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/div.h"
#include "tandem/ops/minimum.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"

namespace tandem::optim {
namespace {

std::vector<Tensor> gradients(const Parameters& parameters) {
  std::vector<Tensor> out;
  for (const auto& [name, p] : parameters.list())
    if (Tensor g = p.grad(); g.defined()) out.push_back(std::move(g));
  return out;
}

bool is_half(const Tensor& t) { return t.dtype() == f16 || t.dtype() == bf16; }
/// f16 and bf16 have neither the range of squares nor the digits of sums.
Tensor widened(const Tensor& t) { return is_half(t) ? cast(t, f32) : t; }

}  // namespace

Tensor clip_grad_norm_(const Parameters& parameters, double max_norm, double norm_type,
                       bool error_if_nonfinite) {
  require(norm_type > 0, "clip_grad_norm_(norm_type=", norm_type, "): must be positive");
  const NoGrad guard;
  const std::vector<Tensor> list = gradients(parameters);
  Tensor total;
  for (const Tensor& gradient : list) {
    const Tensor g = widened(gradient);
    Tensor part;
    if (std::isinf(norm_type)) part = amax(abs(g));
    else if (norm_type == 2) part = sum(square(g));
    else if (norm_type == 1) part = sum(abs(g));
    else part = sum(pow(abs(g), norm_type));
    if (!total.defined()) total = part;
    else total = std::isinf(norm_type) ? maximum(total, part) : total + part;
  }
  if (!total.defined()) return Tensor(0.0).to(f32);
  if (norm_type == 2) total = sqrt(total);
  else if (norm_type != 1 && !std::isinf(norm_type)) total = pow(total, 1 / norm_type);
  if (error_if_nonfinite) {
    const double norm = total.item<double>();
    require(std::isfinite(norm), "clip_grad_norm_(norm_type=", norm_type,
            "): the norm of the gradients is ", norm);
  }
  const Tensor scale = clamp(max_norm / (total + 1e-6), {}, 1.0);
  for (Tensor g : list) {
    if (is_half(g)) g.copy_(widened(g) * scale);
    else g *= scale;
  }
  return total;
}

void clip_grad_value_(const Parameters& parameters, double clip_value) {
  const NoGrad guard;
  for (Tensor g : gradients(parameters)) g.copy_(clamp(g, -clip_value, clip_value));
}

}  // namespace tandem::optim
