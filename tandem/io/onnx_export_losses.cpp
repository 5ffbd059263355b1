// Losses as ONNX operators.
#include "tandem/io/detail/onnx_export.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/l1_loss.h"
#include "tandem/ops/mse_loss.h"
#include "tandem/ops/nll_loss.h"

namespace tandem::detail {
namespace {

using E = OnnxExporter;
using onnx::Attribute;
using Names = E::Names;

bool reduced(E& e, const char* op, const Names& in, const std::string& reduction) {
  if (reduction == "none") return e.result(op, in);
  const std::string all = e.emit(op, in);
  return e.result(reduction == "sum" ? "ReduceSum" : "ReduceMean", {all},
                  {Attribute::of("keepdims", 0)});
}
bool mse(E& e, const MseLoss& op) {
  const DType d = e.out().dtype;
  const std::string difference = e.emit("Sub", {e.in(0, d), e.in(1, d)});
  return reduced(e, "Mul", {difference, difference}, op.reduction);
}
bool l1(E& e, const L1Loss& op) {
  const DType d = e.out().dtype;
  return reduced(e, "Abs", {e.emit("Sub", {e.in(0, d), e.in(1, d)})}, op.reduction);
}

/// The losses of class numbers: scores [n, c, ...], or [c] for one.
template <class O>
bool classes(E& e, const char* name, const O& op) {
  const DType d = e.out().dtype;
  if (is_floating(e.dtype(1)) || e.rank(0) < 2 || !is_floating(d)) return false;
  if (must_equal(e.spec(0).shape.numel(), 0)) return false;  // runtimes reshape by the rest
  return e.result(
      name, {e.in(0, d), e.in(1, i64), e.in(2, d)},
      {Attribute::of("ignore_index", op.ignore_index), Attribute::of("reduction", op.reduction)});
}
bool cross_entropy_(E& e, const CrossEntropy& op) {
  return op.label_smoothing == 0 && classes(e, "SoftmaxCrossEntropyLoss", op);
}
bool nll(E& e, const NllLoss& op) { return classes(e, "NegativeLogLikelihoodLoss", op); }

}  // namespace

void add_loss_rules(OnnxRules& r) {
  r.add<MseLoss>(mse), r.add<L1Loss>(l1), r.add<CrossEntropy>(cross_entropy_), r.add<NllLoss>(nll);
}

}  // namespace tandem::detail
