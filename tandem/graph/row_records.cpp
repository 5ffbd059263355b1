// Which records work on rows. How long a row is stands in the record's own attributes.
#include "tandem/graph/fused_row.h"
#include "tandem/ops/logsumexp.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/norm.h"
#include "tandem/ops/prod.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/var.h"

namespace tandem::graph {
namespace {

/// The number of axes when they are the last ones.
int last_axes(const Shape& axes, int dim) {
  uint32_t hit = 0;
  for (int64_t a : axes) hit |= 1u << (a < 0 ? a + dim : a);
  const int n = axes.size();
  return n < dim && hit == ((1u << n) - 1) << (dim - n) ? n : 0;
}

template <class O>
int axes_of(const O& op, int dim) {
  if constexpr (requires { op.normalized_shape; }) return op.normalized_shape.size();
  else if constexpr (requires { op.axes; }) return last_axes(op.axes, dim);
  else return last_axes({op.axis}, dim);
}

template <class... O>
struct Records {
  static int axes(const OpInfo& info, const void* op, int dim) {
    int n = 0;
    ((&info == &op_info<O>() && (n = axes_of(*static_cast<const O*>(op), dim))) || ...);
    return n;
  }
};
using ByRows = Records<LayerNorm, LayerNormGrad, Softmax, SoftmaxGrad, LogSoftmax, LogSoftmaxGrad,
                       Sum, Mean, Prod, Amax, Amin, Var, Std, Logsumexp>;

}  // namespace

int row_axes(const OpInfo& info, const void* op, const Shape& x) {
  return ByRows::axes(info, op, x.size());
}

}  // namespace tandem::graph
