#include "tandem/ops/update.h"

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"

namespace tandem::detail {

void update_infer(const OpInfo& info, const void* op, int hyper_size, Specs in,
                  std::vector<Spec>& out) {
  auto check = [&]<class E>(E*, bool ok, const auto&... a) {
    if (!ok) throw E(cat(info.print(op), ": ", a...));
  };
  DTypeError* dtype_error = nullptr;
  ShapeError* shape_error = nullptr;
  check(shape_error, may_equal(in[0].shape, Shape{hyper_size}), "hyper has shape ", in[0].shape,
        ", needs ", Shape{hyper_size});
  check(shape_error, may_equal(in[1].shape.numel(), 1), "step has shape ", in[1].shape,
        ", needs one element");
  for (int i = 0; i < in.size(); ++i) {
    if (!in.has(i)) continue;
    check(dtype_error, is_floating(in[i].dtype), "needs floating inputs, got ", in[i].dtype,
          " for input ", i);
    check(shape_error, i < 3 || may_equal(in[i].shape, in[2].shape), "input ", i, " has shape ",
          in[i].shape, ", the parameter has ", in[2].shape);
  }
  // (p, states..., step); a state that was left out gives an empty tensor.
  out.push_back(in[2]);
  for (int i = 4; i < info.max_inputs; ++i)
    out.push_back(in.has(i) ? in[i] : Spec{{0}, in[2].dtype, in[2].device});
  out.push_back(in[1]);
}

void update_cpu(const OpInfo& info, const void* op, Inputs in, Outputs out) {
  const Tensor hyper = as_contiguous(in[0], f64);
  const Tensor step = as_contiguous(in[1], f64);
  const DType compute = in[2].dtype() == f64 ? f64 : f32;
  UpdateItem item{};
  item.n = in[2].numel();
  item.step = *step.data<double>() + 1;
  const Tensor g = as_contiguous(in[3], compute);
  item.g = g.raw_data();

  Tensors work;
  auto writable = [&](const Tensor& from) {
    Tensor t = empty(from.shape(), compute);
    copy_data(t, from);
    work.push_back(t);
    return t.raw_data();
  };
  item.p = writable(in[2]);
  int states = 0;
  for (size_t i = 4; i < in.size() && in[i].defined(); ++i) item.state[states++] = writable(in[i]);
  info.update(op, hyper.data<double>(), {&item, 1}, states, compute);
  for (size_t i = 0; i < work.size(); ++i) copy_data(out[i], work[i]);
  copy_data(out[size_t(info.outputs) - 1], full({}, item.step, f64));
}

}  // namespace tandem::detail
