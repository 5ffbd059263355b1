#include "tandem/graph/conv_records.h"

#include <algorithm>
#include <array>
#include <limits>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

using graph::BlockedMaxPool2d;
using graph::FromBlocked;
using graph::FusedConv2d;
using graph::PackConv2d;
using graph::ToBlocked;

TANDEM_OP(FusedConv2d)
TANDEM_OP(PackConv2d)
TANDEM_OP(ToBlocked)
TANDEM_OP(FromBlocked)
TANDEM_OP(BlockedMaxPool2d)

namespace graph {
namespace {

constexpr std::string_view activations[] = {"none",       "relu", "clamp",
                                            "leaky_relu", "silu", "sigmoid"};

/// The kernel that the pass has put there; a graph that was read from text has none.
std::shared_ptr<const cpu::BlockedConv> kernel_of(const BlockedConvolution& op) {
  if (op.kernel) return op.kernel;
  auto kernel = cpu::BlockedConv::make(op.spec());
  require<NotImplemented>(kernel != nullptr, "fused_conv2d(): no kernel of this processor does ",
                          op.algorithm, " convolution of x ", op.x, " with weight ", op.weight,
                          " in blocks of ", op.block);
  return kernel;
}

template <class O>
void check_input(const O& op, Specs in, int i, std::string_view what, bool wanted,
                 const Shape& shape) {
  check<ShapeError>(in.has(i) == wanted, op, what, wanted ? " is missing" : " is one too many");
  if (wanted)
    check<ShapeError>(in[i].dtype == f32 && in[i].shape == shape, op, what, " is ", in[i],
                      "; it must be f32", shape);
}

template <class O>
void check_blocks(const O& op, const Shape& x) {
  check<ShapeError>(x.size() == 5, op, "x has shape ", x, "; blocks are [n, c / b, h, w, b]");
}

}  // namespace

cpu::BlockedConvSpec BlockedConvolution::spec() const {
  const auto four = [](const Shape& s) { return s.size() == 4; };
  const auto two = [](const Shape& s) { return s.size() == 2; };
  const auto known = std::find(std::begin(activations), std::end(activations), activation);
  require<ValueError>(four(x) && four(weight) && two(stride) && two(padding) && two(dilation),
                      "fused_conv2d(): x and weight have 4 axes, stride, padding and dilation 2");
  require<ValueError>(known != std::end(activations), "fused_conv2d(): no activation is called ",
                      activation);
  require<ValueError>(algorithm == "direct" || algorithm == "winograd",
                      "fused_conv2d(): no algorithm is called ", algorithm);
  require<ValueError>(block == cpu::channel_block(), "fused_conv2d(): blocks of ", block,
                      " channels; this processor has blocks of ", cpu::channel_block());
  cpu::BlockedConvSpec s;
  s.shape = {x[0],      x[1],      x[2],       x[3],       weight[0],   weight[2],   weight[3],
             stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1], groups};
  s.x_plain = x_plain();
  s.winograd = algorithm == "winograd";
  s.bias = bias;
  s.residual = residual;
  s.activation = cpu::ConvActivation(known - std::begin(activations));
  s.low = float(low);
  s.high = float(high);
  return s;
}

Shape BlockedConvolution::blocked_x() const {
  if (x_plain()) return x;
  return {x[0], x[1] / block, x[2], x[3], block};
}
Shape BlockedConvolution::blocked_y() const {
  const cpu::ConvShape s = spec().shape;
  return {x[0], weight[0] / block, s.out_h(), s.out_w(), block};
}

Spec FusedConv2d::infer(Specs in) const {
  const Shape y = blocked_y();
  check_input(*this, in, 0, "x", true, blocked_x());
  check_input(*this, in, 1, "packed", true, {kernel_of(*this)->packed_size()});
  check_input(*this, in, 2, "bias", bias, {weight[0]});
  check_input(*this, in, 3, "residual", residual, y);
  return {y, f32, in[0].device};
}
void FusedConv2d::cpu(Inputs in, Outputs out) const {
  Tensor row_major[4];  // what a graph convolves may be a view
  const float* data[4] = {};
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].defined()) continue;
    row_major[i] = detail::as_contiguous(in[i]);
    data[i] = row_major[i].data<float>();
  }
  kernel_of(*this)->run(data[0], data[1], data[2], data[3], out[0].data<float>());
}
Samples<FusedConv2d> FusedConv2d::samples() { return {}; }

Spec PackConv2d::infer(Specs in) const {
  check_input(*this, in, 0, "weight", true, weight);
  return {{kernel_of(*this)->packed_size()}, f32, in[0].device};
}
void PackConv2d::cpu(Inputs in, Outputs out) const {
  const Tensor w = detail::as_contiguous(in[0]);
  kernel_of(*this)->pack(w.data<float>(), out[0].data<float>());
}
Samples<PackConv2d> PackConv2d::samples() { return {}; }

Spec ToBlocked::infer(Specs in) const {
  const Shape& x = in[0].shape;
  check(block > 0 && block == cpu::channel_block(), *this, "this processor has blocks of ",
        cpu::channel_block());
  check<ShapeError>(in[0].dtype == f32 && x.size() == 4 && x[1] % block == 0, *this, "x is ", in[0],
                    "; it must be f32[n, c, h, w], c a multiple of ", block);
  return {{x[0], x[1] / block, x[2], x[3], block}, f32, in[0].device};
}
void ToBlocked::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0]);
  const Shape& s = x.shape();
  cpu::to_blocked(s[0], s[1], s[2] * s[3], x.data<float>(), out[0].data<float>());
}
Samples<ToBlocked> ToBlocked::samples() { return {}; }

Spec FromBlocked::infer(Specs in) const {
  const Shape& x = in[0].shape;
  check_blocks(*this, x);
  return {{x[0], x[1] * x[4], x[2], x[3]}, f32, in[0].device};
}
void FromBlocked::cpu(Inputs in, Outputs out) const {
  const Shape& s = out[0].shape();
  const Tensor x = detail::as_contiguous(in[0]);
  cpu::from_blocked(s[0], s[1], s[2] * s[3], x.data<float>(), out[0].data<float>());
}
Samples<FromBlocked> FromBlocked::samples() { return {}; }

Spec BlockedMaxPool2d::infer(Specs in) const {
  const Shape& x = in[0].shape;
  check_blocks(*this, x);
  for (const Shape* s : {&size, &kernel_size, &stride, &padding})
    check(s->size() == 2, *this, "size, kernel_size, stride and padding have 2 numbers");
  return {{x[0], x[1], size[0], size[1], x[4]}, f32, in[0].device};
}

namespace {

/// One row of results, `block` channels each.
template <int block>
TANDEM_FN void pool_row(const BlockedMaxPool2d& op, const float* x, int64_t h, int64_t w,
                        int64_t row, float* y) {
  const int64_t down = op.stride[0], above = op.padding[0], high = op.kernel_size[0];
  const int64_t right = op.stride[1], before = op.padding[1], wide = op.kernel_size[1];
  const int64_t top = row * down - above, columns = op.size[1];
  const int64_t first = std::max<int64_t>(top, 0), last = std::min(h, top + high);
  for (int64_t j = 0; j < columns; ++j) {
    const int64_t left = j * right - before;
    const int64_t begin = std::max<int64_t>(left, 0), end = std::min(w, left + wide);
    float best[block];
    for (int k = 0; k < block; ++k) best[k] = -std::numeric_limits<float>::infinity();
    for (int64_t r = first; r < last; ++r)
      for (int64_t q = begin; q < end; ++q) {
        const float* p = x + (r * w + q) * block;
#pragma omp simd
        for (int k = 0; k < block; ++k) best[k] = p[k] > best[k] || p[k] != p[k] ? p[k] : best[k];
      }
    for (int k = 0; k < block; ++k) y[j * block + k] = best[k];
  }
}

template <int block>
void pool(const BlockedMaxPool2d& op, const Tensor& in, const Tensor& out) {
  const Shape& s = in.shape();
  const int64_t h = s[2], w = s[3], rows = op.size[0], row = op.size[1] * block;
  const float* x = in.data<float>();
  float* y = out.data<float>();
  const int64_t work = std::max<int64_t>(1, row * op.kernel_size[0] * op.kernel_size[1]);
  cpu::parallel_for(
      s[0] * s[1] * rows, std::max<int64_t>(1, 65536 / work), [&](int64_t begin, int64_t end) {
        simd([&] {
          for (int64_t i = begin; i < end; ++i)
            pool_row<block>(op, x + i / rows * h * w * block, h, w, i % rows, y + i * row);
        });
      });
}

}  // namespace

void BlockedMaxPool2d::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0]);
  if (x.size(4) == 16) pool<16>(*this, x, out[0]);
  else pool<8>(*this, x, out[0]);
}
Samples<BlockedMaxPool2d> BlockedMaxPool2d::samples() { return {}; }

const OpInfo* find_conv_record(std::string_view name) {
  const std::array rows = {&op_info<FusedConv2d>(), &op_info<PackConv2d>(), &op_info<ToBlocked>(),
                           &op_info<FromBlocked>(), &op_info<BlockedMaxPool2d>()};
  for (const OpInfo* row : rows)
    if (row->name == name) return row;
  return nullptr;
}

IndexSet prepared_inputs(const OpInfo& info) {
  return &info == &op_info<FusedConv2d>() ? IndexSet{1, 2} : IndexSet{};
}
std::string packing_of(const OpInfo& info, const void* op) {
  if (&info != &op_info<PackConv2d>()) return info.print(op);
  const auto& pack = *static_cast<const PackConv2d*>(op);
  return cat(pack.weight, pack.groups) + kernel_of(pack)->packing();
}
int residual_input(const OpInfo& info) { return &info == &op_info<FusedConv2d>() ? 3 : -1; }

}  // namespace graph
}  // namespace tandem
