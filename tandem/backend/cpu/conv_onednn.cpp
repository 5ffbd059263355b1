#include "tandem/backend/cpu/conv_onednn.h"

#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "tandem/backend/cpu/onednn_error.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {
namespace {

using dnnl::memory;
using Desc = memory::desc;
using Tag = memory::format_tag;

constexpr size_t round_up(size_t n) { return (n + 63) / 64 * 64; }

// One operand: the caller's layout, the primitive's, and the way between them.
struct Operand {
  memory user, inner;
  dnnl::reorder reorder;
  size_t offset = 0;  // in the scratch block
  bool moved = false;

  void set(const dnnl::engine& engine, const Desc& from_user, const Desc& in_primitive,
           bool to_primitive, size_t& scratch) {
    moved = from_user != in_primitive;
    user = memory(from_user, engine, nullptr);
    if (!moved) return;
    inner = memory(in_primitive, engine, nullptr);
    const Desc& from = to_primitive ? from_user : in_primitive;
    const Desc& to = to_primitive ? in_primitive : from_user;
    reorder = dnnl::reorder(dnnl::reorder::primitive_desc(engine, from, engine, to));
    offset = scratch;
    scratch += round_up(in_primitive.get_size());
  }

  const memory& arg() const { return moved ? inner : user; }
};

Desc any_of(const Desc& d, ConvLayout layout) {
  const auto type = memory::data_type::f32;
  if (layout == ConvLayout::plain) return Desc(d.dims(), type, Tag::nchw);
  if (layout == ConvLayout::channels_last) return Desc(d.dims(), type, Tag::nhwc);
  return Desc(d.dims(), type, Tag::any);
}

}  // namespace

struct OneDnnConv::Impl {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::primitive primitive;
  Operand a, b, out;
  memory bias, scratchpad;
  std::unordered_map<int, memory> args;
  size_t scratch_bytes = 0;
  size_t pad_offset = 0;
  bool b_is_weights = true;
  bool has_bias = false;

  // Sets up the operands; kinds are oneDNN's argument numbers.
  template <class PrimitiveDesc>
  bool finish(const PrimitiveDesc& pd, const Desc (&user)[3], const Desc (&inner)[3],
              const int (&kinds)[3], const Desc& bias_desc, int bias_kind) {
    if (std::strncmp(pd.impl_info_str(), "ref", 3) == 0) return false;
    a.set(engine, user[0], inner[0], true, scratch_bytes);
    b.set(engine, user[1], inner[1], true, scratch_bytes);
    out.set(engine, user[2], inner[2], false, scratch_bytes);
    const Desc pad = pd.scratchpad_desc();
    pad_offset = scratch_bytes;
    scratch_bytes += round_up(pad.get_size());
    scratchpad = memory(pad, engine, nullptr);
    args = {{kinds[0], a.arg()},
            {kinds[1], b.arg()},
            {kinds[2], out.arg()},
            {DNNL_ARG_SCRATCHPAD, scratchpad}};
    if (has_bias) {
      bias = memory(bias_desc, engine, nullptr);
      args.emplace(bias_kind, bias);
    }
    return true;
  }

  bool build(ConvPass pass, ConvLayout layout, const ConvShape& s);
  void run(const ConvOperands& o);
};

bool OneDnnConv::Impl::build(ConvPass pass, ConvLayout layout, const ConvShape& s) {
  const auto type = memory::data_type::f32;
  const Desc x({s.n, s.c, s.h, s.w}, type, Tag::nchw);
  const Desc y({s.n, s.oc, s.out_h(), s.out_w()}, type, Tag::nchw);
  const bool grouped = s.groups > 1;
  const memory::dims wdims =
      grouped ? memory::dims{s.groups, s.oc / s.groups, s.c / s.groups, s.kh, s.kw}
              : memory::dims{s.oc, s.c, s.kh, s.kw};
  const Desc w(wdims, type, grouped ? Tag::goihw : Tag::oihw);
  const Desc w_any(wdims, type, Tag::any);
  const Desc bias_desc({s.oc}, type, Tag::x);
  const Desc x_in = any_of(x, layout), y_in = any_of(y, layout);
  const memory::dims strides{s.stride_h, s.stride_w}, dilates{s.dil_h - 1, s.dil_w - 1};
  const memory::dims pads{s.pad_h, s.pad_w};
  const auto algorithm = layout == ConvLayout::winograd ? dnnl::algorithm::convolution_winograd
                                                        : dnnl::algorithm::convolution_direct;
  const auto kind = dnnl::prop_kind::forward_training;
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);

  using Forward = dnnl::convolution_forward;
  const bool with_bias = has_bias && pass == ConvPass::forward;
  const Forward::primitive_desc fwd(
      with_bias ? Forward::desc(kind, algorithm, x_in, w_any, bias_desc, y_in, strides, dilates,
                                pads, pads)
                : Forward::desc(kind, algorithm, x_in, w_any, y_in, strides, dilates, pads, pads),
      attr, engine);
  if (pass == ConvPass::forward) {
    primitive = Forward(fwd);
    return finish(fwd, {x, w, y}, {fwd.src_desc(), fwd.weights_desc(), fwd.dst_desc()},
                  {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}, bias_desc, DNNL_ARG_BIAS);
  }
  if (pass == ConvPass::backward_data) {
    using Backward = dnnl::convolution_backward_data;
    const Backward::primitive_desc pd(
        Backward::desc(algorithm, x_in, w_any, y_in, strides, dilates, pads, pads), attr, engine,
        fwd);
    primitive = Backward(pd);
    return finish(pd, {y, w, x}, {pd.diff_dst_desc(), pd.weights_desc(), pd.diff_src_desc()},
                  {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC}, bias_desc, 0);
  }
  b_is_weights = false;
  using Backward = dnnl::convolution_backward_weights;
  const Backward::primitive_desc pd(
      has_bias
          ? Backward::desc(algorithm, x_in, w_any, bias_desc, y_in, strides, dilates, pads, pads)
          : Backward::desc(algorithm, x_in, w_any, y_in, strides, dilates, pads, pads),
      attr, engine, fwd);
  primitive = Backward(pd);
  return finish(pd, {x, y, w}, {pd.src_desc(), pd.diff_dst_desc(), pd.diff_weights_desc()},
                {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS}, bias_desc,
                DNNL_ARG_DIFF_BIAS);
}

void OneDnnConv::Impl::run(const ConvOperands& o) {
  const OmpScope threads;
  const Scratch block(scratch_bytes);
  char* scratch = block.as<char>();
  a.user.set_data_handle(const_cast<float*>(o.a));
  b.user.set_data_handle(const_cast<float*>(o.b));
  out.user.set_data_handle(o.out);
  if (has_bias) {
    bias.set_data_handle(b_is_weights ? const_cast<float*>(o.bias) : o.bias_grad);
  }
  scratchpad.set_data_handle(scratch + pad_offset);
  if (a.moved) {
    a.inner.set_data_handle(scratch + a.offset);
    a.reorder.execute(stream, a.user, a.inner);
  }
  if (b.moved) {
    b.inner.set_data_handle(scratch + b.offset);
    b.reorder.execute(stream, b.user, b.inner);
  }
  if (out.moved) out.inner.set_data_handle(scratch + out.offset);
  primitive.execute(stream, args);
  if (out.moved) out.reorder.execute(stream, out.inner, out.user);
}

OneDnnConv::OneDnnConv(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OneDnnConv::~OneDnnConv() = default;

std::unique_ptr<OneDnnConv> OneDnnConv::make(ConvPass pass, ConvLayout layout,
                                             const ConvShape& shape, bool bias) {
  const OmpScope threads;
  auto impl = std::make_unique<Impl>();
  impl->has_bias = bias;
  try {
    if (!impl->build(pass, layout, shape)) return nullptr;
  } catch (const dnnl::error& e) {
    check_memory(e);
    return nullptr;  // no implementation of this algorithm for the shape
  }
  return std::make_unique<OneDnnConv>(std::move(impl));
}

void OneDnnConv::run(const ConvOperands& operands) {
  try {
    impl_->run(operands);
  } catch (const dnnl::error& e) {
    throw_failed("conv2d()", e);
  }
}

}  // namespace tandem::cpu
