#include "tandem/graph/norm_records.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/batch_norm_fused.h"

namespace tandem {

using graph::FusedBatchNorm;
using graph::FusedBatchNormGrad;

TANDEM_OP(FusedBatchNorm)
TANDEM_OP(FusedBatchNormGrad)

namespace graph {
namespace {

template <class O>
void check_like_x(const O& op, Specs in, int i, std::string_view what) {
  if (in.has(i))
    check<ShapeError>(in[i] == in[0], op, what, " is ", in[i], "; it must be ", in[0], " like x");
}

}  // namespace

std::array<Spec, 3> FusedBatchNorm::infer(Specs in) const {
  check<DTypeError>(in[0].dtype == f32, *this, "x is ", in[0].dtype, ", it must be f32");
  check_like_x(*this, in, 5, "residual");
  return BatchNorm{training, eps}.infer(in);
}
void FusedBatchNorm::cpu(Inputs in, Outputs out) const {
  const bool adds = in.size() > 5 && in[5].defined();
  detail::batch_norm_fused({training, eps}, in.first(std::min<size_t>(in.size(), 5)), out,
                           adds ? in[5] : Tensor(), relu);
}
Samples<FusedBatchNorm> FusedBatchNorm::samples() { return {}; }

std::array<Spec, 3> FusedBatchNormGrad::infer(Specs in) const {
  check<DTypeError>(in[0].dtype == f32, *this, "x is ", in[0].dtype, ", it must be f32");
  check_like_x(*this, in, 7, "y");
  return BatchNormGrad{training, eps}.infer(in);
}
void FusedBatchNormGrad::cpu(Inputs in, Outputs out) const {
  detail::batch_norm_grad_fused({training, eps}, in.first(7), out, in[7]);
}
Samples<FusedBatchNormGrad> FusedBatchNormGrad::samples() { return {}; }

const OpInfo* find_norm_record(std::string_view name) {
  for (const OpInfo* row : {&op_info<FusedBatchNorm>(), &op_info<FusedBatchNormGrad>()})
    if (row->name == name) return row;
  return nullptr;
}

}  // namespace graph
}  // namespace tandem
