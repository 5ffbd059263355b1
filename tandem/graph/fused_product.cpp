#include "tandem/graph/fused_product.h"

#include <utility>

#include "tandem/core/factory.h"
#include "tandem/graph/fused_point.h"
#include "tandem/graph/fused_record.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/matmul.h"

namespace tandem::graph {
namespace {

struct Held {
  FusedProduct source;
  int memory = 0;  // the output that the product's result lies in
  // The only instruction of the program, when its operands are the program's inputs in order.
  const FusedPoint::Instruction* one = nullptr;
  detail::PointFn kernel = nullptr;  // its own, when it reads all operands as they are
};
const Held& held(const void* op) {
  return *static_cast<const std::shared_ptr<const Held>*>(op)->get();
}

void find_only(Held& h, const FusedPoint& p) {
  const FusedPoint::Instruction& step = p.program[0];
  bool plain = step.info->point && (step.dtype == f32 || step.dtype == f64);
  if (p.program.size() != 1 || step.operands.size() != p.inputs.size()) return;
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    if (step.operands[i] != int(i)) return;
    plain = plain && p.inputs[i].shape == p.shape && p.inputs[i].dtype == step.dtype;
  }
  h.one = &step;
  if (plain) h.kernel = step.dtype == f32 ? step.info->point->f32 : step.info->point->f64;
}

struct Rows {
  const Held& held;
  Inputs in;
  Outputs out;
  int64_t width;

  void run(int64_t begin, int64_t end) const {
    begin *= width;
    end *= width;
    if (held.kernel) {
      const int64_t from = begin * itemsize(held.one->dtype);
      const void* operands[detail::max_point_inputs];
      for (size_t i = 0; i < in.size(); ++i) operands[i] = in[i].impl()->data + from;
      held.kernel(held.one->op.get(), operands, out[0].impl()->data + from, end - begin);
    } else if (held.one && end - begin == out[0].numel()) {
      held.one->info->cpu(held.one->op.get(), in, out);
    } else {
      run_fused_point(held.source.points.get(), in, out, begin, end);
    }
  }
};

void run(const void* op, Inputs in, Outputs out) {
  const Held& h = held(op);
  const FusedProduct& p = h.source;
  const FusedPoint& program = fused_point_of(p.points.get());
  Tensor& result = out[size_t(h.memory)];
  Tensors copies;
  TensorImpl* args[FusedPoint::max_inputs];  // handles without a count
  size_t next = size_t(p.inputs);
  for (int i = 0; i < int(program.inputs.size()); ++i) {
    args[i] = result.impl();
    if (i == p.at) continue;
    const Tensor* t = &in[next++];
    if (!t->is_contiguous()) {
      if (copies.empty()) copies.reserve(program.inputs.size());
      copies.push_back(detail::as_contiguous(*t));
      t = &copies.back();
    }
    args[i] = t->impl();
  }
  const int64_t width = std::max<int64_t>(result.shape().back(), 1);
  const Rows rows{h,
                  {reinterpret_cast<const Tensor*>(args), program.inputs.size()},
                  p.keeps ? out.subspan(1) : out,
                  width};
  run_rows(*p.info, p.op.get(), in.first(size_t(p.inputs)), {&result, 1},
           {[](const void* self, int64_t begin, int64_t end) {
              static_cast<const Rows*>(self)->run(begin, end);
            },
            &rows, p.same_kernel});
}

void infer(const void* op, Specs in, Spec* out) {
  const FusedProduct& p = held(op).source;
  const FusedPoint& program = fused_point_of(p.points.get());
  Tensors args;
  for (int i = 0; i < in.size(); ++i)
    args.push_back(in.has(i) ? detail::new_symbolic(in[i]) : Tensor());
  require<ShapeError>(in.size() == p.inputs + int(program.inputs.size()) - 1,
                      "fused_product(): ", in.size(), " inputs for ", p.inputs, " and ",
                      program.inputs.size() - 1);
  Spec result;
  p.info->infer(p.op.get(), Specs(args.data(), p.inputs), &result);
  if (p.keeps) *out++ = result;
  Tensors points;
  int next = p.inputs;
  for (int i = 0; i < int(program.inputs.size()); ++i) {
    points.push_back(i == p.at ? detail::new_symbolic(result) : args[size_t(next)]);
    if (i == p.at) continue;
    if (in.is_number(next)) points.back().impl()->flags |= TensorImpl::wrapped_number;
    ++next;
  }
  fused_point_info(int(program.outputs.size()))
      .infer(p.points.get(), Specs(points.data(), int(points.size())), out);
}

std::string print(const void* op) {
  const FusedProduct& p = held(op).source;
  const std::string points =
      fused_point_info(int(fused_point_of(p.points.get()).outputs.size())).print(p.points.get());
  return cat("fused_product(product=", p.info->print(p.op.get()), ", result=$", p.at,
             p.keeps ? " kept" : "", ", ", points.substr(points.find('(') + 1));
}

uint64_t hash(const void* op) {
  const FusedProduct& p = held(op).source;
  return detail::mix(p.info->hash(p.op.get()), fused_point_info(1).hash(p.points.get()));
}

bool equal(const void* a, const void* b) {
  const FusedProduct &x = held(a).source, &y = held(b).source;
  return x.info == y.info && x.inputs == y.inputs && x.at == y.at && x.keeps == y.keeps &&
         x.same_kernel == y.same_kernel && x.info->equal(x.op.get(), y.op.get()) &&
         fused_point_info(1).equal(x.points.get(), y.points.get());
}

constexpr OpInfo make_row() {
  using Handle = std::shared_ptr<const Held>;
  OpInfo r = fused_record<Handle>("fused_product", FusedPoint::max_inputs + 3);
  r.min_inputs = 2;
  r.infer = infer;
  r.cpu = run;
  r.print = print;
  r.hash = hash;
  r.equal = equal;
  return r;
}
constinit const auto rows = for_outputs<FusedPoint::max_outputs + 1>(make_row());

}  // namespace

namespace {

using RunRows = void (*)(const void* op, Inputs in, Outputs out, const cpu::RowsDone& done);

template <class O>
void run_rows_of(const void* op, Inputs in, Outputs out, const cpu::RowsDone& done) {
  static_cast<const O*>(op)->cpu(in, out, done);
}
/// Of the records among O; null for others.
template <class... O>
RunRows find_among(const OpInfo& info) {
  RunRows found = nullptr;
  ((&info == &op_info<O>() ? void(found = run_rows_of<O>) : void()), ...);
  return found;
}
RunRows find_run_rows(const OpInfo& info) {
  return find_among<Linear, Matmul, Conv2d, Conv2dInputGrad, LinearGrad>(info);
}

}  // namespace

bool is_product(const OpInfo& info) { return gives_rows(info) && &info != &op_info<LinearGrad>(); }

bool gives_rows(const OpInfo& info) { return find_run_rows(info) != nullptr; }

void run_rows(const OpInfo& info, const void* op, Inputs in, Outputs out,
              const cpu::RowsDone& done) {
  find_run_rows(info)(op, in, out, done);
}

const OpInfo& fused_product_info(int outputs) { return rows[size_t(outputs) - 1]; }

std::shared_ptr<void> make_fused_product(FusedProduct product) {
  auto h = std::make_shared<Held>();
  if (!product.keeps) {
    h->memory = place_over(fused_point_of(product.points.get()), product.at);
    if (h->memory < 0) return nullptr;
  }
  find_only(*h, fused_point_of(product.points.get()));
  h->source = std::move(product);
  return std::make_shared<std::shared_ptr<const Held>>(std::move(h));
}

const FusedProduct& fused_product_of(const void* op) { return held(op).source; }

}  // namespace tandem::graph
