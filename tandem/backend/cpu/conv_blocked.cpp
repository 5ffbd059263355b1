#include "tandem/backend/cpu/conv_blocked.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "tandem/backend/cpu/conv_choice.h"
#include "tandem/backend/cpu/conv_winograd_kernels.h"
#include "tandem/backend/cpu/conv_winograd_pack.h"
#include "tandem/backend/cpu/invalid_flag.h"
#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/onednn_error.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/core/autotune.h"
#include "tandem/core/error.h"
#include "tandem/op/simd.h"

namespace tandem::cpu {
namespace {

using dnnl::memory;
using Desc = memory::desc;
using Tag = memory::format_tag;
using Forward = dnnl::convolution_forward;

void append(dnnl::post_ops& ops, const BlockedConvSpec& s) {
  const auto eltwise = [&](dnnl::algorithm kind, float alpha, float beta) {
    ops.append_eltwise(1.0f, kind, alpha, beta);
  };
  switch (s.activation) {
    case ConvActivation::none: break;
    case ConvActivation::relu: eltwise(dnnl::algorithm::eltwise_relu, 0, 0); break;
    case ConvActivation::leaky_relu: eltwise(dnnl::algorithm::eltwise_relu, s.low, 0); break;
    case ConvActivation::clamp: eltwise(dnnl::algorithm::eltwise_clip_v2, s.low, s.high); break;
    case ConvActivation::silu: eltwise(dnnl::algorithm::eltwise_swish, 1, 0); break;
    case ConvActivation::sigmoid: eltwise(dnnl::algorithm::eltwise_logistic, 0, 0); break;
  }
}

// What one thread at a time needs beside the primitive: memory objects, which hold addresses.
struct Execution {
  dnnl::stream stream;
  memory x, w, bias, y, scratchpad;
  std::unordered_map<int, memory> args;
};

}  // namespace

int64_t channel_block() noexcept {
  if (isa() == Isa::avx512) return 16;
  return isa() == Isa::avx2 ? 8 : 0;
}

struct BlockedConv::Impl {
  BlockedConvSpec spec;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  Desc x, w, bias, y, scratchpad, plain_w, pack_scratchpad;
  dnnl::primitive primitive;
  dnnl::reorder pack;
  mutable std::atomic<Execution*> idle{nullptr};  // what the last run has left for the next
  mutable std::mutex plain_lock;
  mutable std::shared_ptr<const BlockedConv> plain;  // the same without residual and activation

  ~Impl() { delete idle.load(); }
  bool build(const Desc* packed);
  void restore_nan(const float* from, const float* packed, const float* add, const float* residual,
                   float* sum) const;
  std::unique_ptr<Execution> execution() const;
};

/// `packed`: the order of the weight, when it is given.
bool BlockedConv::Impl::build(const Desc* packed) {
  const ConvShape& s = spec.shape;
  const int64_t block = channel_block();
  const bool grouped = s.groups > 1;
  if (block == 0 || s.oc % block != 0) return false;
  if (grouped && (s.groups != s.c || s.oc != s.c || spec.x_plain)) return false;
  if (spec.x_plain ? s.c >= block : s.c % block != 0) return false;
  const auto type = memory::data_type::f32;
  const Tag blocked = block == 16 ? Tag::nChw16c : Tag::nChw8c;
  x = Desc({s.n, s.c, s.h, s.w}, type, spec.x_plain ? Tag::nchw : blocked);
  y = Desc({s.n, s.oc, s.out_h(), s.out_w()}, type, blocked);
  const memory::dims dims =
      grouped ? memory::dims{s.groups, s.oc / s.groups, s.c / s.groups, s.kh, s.kw}
              : memory::dims{s.oc, s.c, s.kh, s.kw};
  plain_w = Desc(dims, type, grouped ? Tag::goihw : Tag::oihw);
  const Desc any_w = packed ? *packed : Desc(dims, type, Tag::any);
  const memory::dims strides{s.stride_h, s.stride_w}, dilates{s.dil_h - 1, s.dil_w - 1};
  const memory::dims pads{s.pad_h, s.pad_w};
  dnnl::post_ops ops;
  if (spec.residual) ops.append_sum(1.0f);
  append(ops, spec);
  dnnl::primitive_attr attr;
  attr.set_post_ops(ops);
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto algorithm =
      spec.winograd ? dnnl::algorithm::convolution_winograd : dnnl::algorithm::convolution_direct;
  const Desc bias_x({s.oc}, type, Tag::x);
  const Forward::primitive_desc pd(
      spec.bias ? Forward::desc(kind, algorithm, x, any_w, bias_x, y, strides, dilates, pads, pads)
                : Forward::desc(kind, algorithm, x, any_w, y, strides, dilates, pads, pads),
      attr, engine);
  if (std::strncmp(pd.impl_info_str(), "ref", 3) == 0) return false;
  w = pd.weights_desc();
  if (spec.bias) bias = bias_x;
  scratchpad = pd.scratchpad_desc();
  primitive = Forward(pd);
  // Its own scratchpad would be one for all threads.
  dnnl::primitive_attr pack_attr;
  pack_attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc pack_pd(engine, plain_w, engine, w, pack_attr);
  pack_scratchpad = pack_pd.scratchpad_desc();
  pack = dnnl::reorder(pack_pd);
  return true;
}

std::unique_ptr<Execution> BlockedConv::Impl::execution() const {
  if (Execution* left = idle.exchange(nullptr)) return std::unique_ptr<Execution>(left);
  auto e = std::make_unique<Execution>();
  e->stream = dnnl::stream(engine);
  e->x = memory(x, engine, nullptr);
  e->w = memory(w, engine, nullptr);
  e->y = memory(y, engine, nullptr);
  e->scratchpad = memory(scratchpad, engine, nullptr);
  e->args = {{DNNL_ARG_SRC, e->x},
             {DNNL_ARG_WEIGHTS, e->w},
             {DNNL_ARG_DST, e->y},
             {DNNL_ARG_SCRATCHPAD, e->scratchpad}};
  if (spec.bias) {
    e->bias = memory(bias, engine, nullptr);
    e->args.emplace(DNNL_ARG_BIAS, e->bias);
  }
  return e;
}

BlockedConv::BlockedConv(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BlockedConv::~BlockedConv() = default;

std::shared_ptr<const BlockedConv> BlockedConv::make(const BlockedConvSpec& spec) {
  const OmpScope threads;
  auto impl = std::make_unique<Impl>();
  impl->spec = spec;
  try {
    if (!impl->build(nullptr)) return nullptr;
  } catch (const dnnl::error& e) {
    check_memory(e);
    return nullptr;  // no implementation of this algorithm for the shape
  }
  return std::make_shared<const BlockedConv>(std::move(impl));
}

int64_t BlockedConv::packed_size() const noexcept {
  return static_cast<int64_t>((impl_->w.get_size() + sizeof(float) - 1) / sizeof(float));
}

std::string BlockedConv::packing() const {
  const dnnl_memory_desc_t& d = impl_->w.data;
  return {reinterpret_cast<const char*>(&d), sizeof d};
}

void BlockedConv::pack(const float* w, float* packed) const {
  if (impl_->spec.winograd && pack_winograd(&impl_->w.data, w, packed)) return;
  const OmpScope threads;
  const Scratch scratch(impl_->pack_scratchpad.get_size());
  try {
    dnnl::stream stream(impl_->engine);
    const memory from(impl_->plain_w, impl_->engine, const_cast<float*>(w));
    const memory to(impl_->w, impl_->engine, packed);
    const memory pad(impl_->pack_scratchpad, impl_->engine, scratch.as<void>());
    impl_->pack.execute(stream,
                        {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, pad}});
  } catch (const dnnl::error& e) {
    throw_failed("pack_conv2d()", e);
  }
}

namespace {

void copy(int64_t size, const float* from, float* to) {
  parallel_for(size, 32768, [&](int64_t begin, int64_t end) {
    std::copy(from + begin, from + end, to + begin);
  });
}

bool all_finite(int64_t size, const float* x) {
  std::atomic<bool> finite{true};
  parallel_for(size, 32768, [&](int64_t begin, int64_t end) {
    simd([&] {
      // Exponents of all ones; bits, since sums of floats would wait for each other.
      uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
      for (int64_t i = begin; i < end; ++i)
        largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffff);
      if (largest >= 0x7f800000) finite.store(false, std::memory_order_relaxed);
    });
  });
  return finite.load(std::memory_order_relaxed);
}

}  // namespace

/// oneDNN's activations take NaN for the smallest number. A sum that is NaN is found by doing it
/// once more without them.
void BlockedConv::Impl::restore_nan(const float* from, const float* packed, const float* add,
                                    const float* residual, float* sum) const {
  std::shared_ptr<const BlockedConv> again;
  {
    const std::lock_guard lock(plain_lock);
    if (!plain) {
      const OmpScope threads;
      auto impl = std::make_unique<Impl>();
      impl->spec = spec;
      impl->spec.residual = false;
      impl->spec.activation = ConvActivation::none;
      try {
        if (impl->build(&w)) plain = std::make_shared<const BlockedConv>(std::move(impl));
      } catch (const dnnl::error& e) {
        throw_failed("fused_conv2d()", e);
      }
      require<Error>(plain != nullptr, "fused_conv2d(): oneDNN has no kernel without activation");
    }
    again = plain;
  }
  const int64_t size = static_cast<int64_t>(y.get_size() / sizeof(float));
  const Scratch scratch(y.get_size());
  float* const part = scratch.as<float>();
  again->run(from, packed, add, nullptr, part);
  parallel_for(size, 32768, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float v = residual ? part[i] + residual[i] : part[i];
      if (std::isnan(v)) sum[i] = v;
    }
  });
}

void BlockedConv::run(const float* x, const float* packed, const float* bias, const float* residual,
                      float* y) const {
  const Impl& m = *impl_;
  const int64_t size = static_cast<int64_t>(m.y.get_size() / sizeof(float));
  const bool loses_nan = m.spec.activation != ConvActivation::none;
  if (residual != nullptr && residual != y) copy(size, residual, y);
  std::unique_ptr<Scratch> added;  // what y held, where a sum with it may be NaN
  if (loses_nan && residual != nullptr && !all_finite(size, y)) {
    added = std::make_unique<Scratch>(m.y.get_size());
    copy(size, y, added->as<float>());
  }
  const OmpScope threads;
  const Scratch scratch(m.scratchpad.get_size());
  try {
    auto e = m.execution();
    e->x.set_data_handle(const_cast<float*>(x));
    e->w.set_data_handle(const_cast<float*>(packed));
    if (m.spec.bias) e->bias.set_data_handle(const_cast<float*>(bias));
    e->y.set_data_handle(y);
    e->scratchpad.set_data_handle(scratch.as<void>());
    m.primitive.execute(e->stream, e->args);
    delete m.idle.exchange(e.release());
  } catch (const dnnl::error& e) {
    throw_failed("fused_conv2d()", e);
  }
  // A look at the flags costs nothing beside a look at the numbers. Where they are set for another
  // reason the sum is done once more for nothing.
  if (loses_nan && (take_invalid_flags() || added))
    m.restore_nan(x, packed, bias, added ? added->as<float>() : nullptr, y);
}

namespace {

/// Buffers of every operand, for runs that only the clock looks at.
class Trial {
 public:
  explicit Trial(const BlockedConv& conv)
      : conv_(conv),
        s_(conv.spec()),
        in_(up(s_.shape.n * s_.shape.c * s_.shape.h * s_.shape.w)),
        out_(up(s_.shape.n * s_.shape.oc * s_.shape.out_h() * s_.shape.out_w())),
        packed_(up(conv.packed_size())),
        memory_(bytes()) {
    std::memset(memory_.as<char>(), 0, bytes());
  }

  double seconds() const {
    using Clock = std::chrono::steady_clock;
    float *x = memory_.as<float>(), *w = x + in_, *y = w + packed_, *b = y + out_;
    const Clock::time_point start = Clock::now();
    conv_.run(x, w, s_.bias ? b : nullptr, s_.residual ? y : nullptr, y);
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

 private:
  static int64_t up(int64_t floats) { return (floats + 15) / 16 * 16; }
  size_t bytes() const {
    return static_cast<size_t>(in_ + packed_ + out_ + up(s_.shape.oc)) * sizeof(float);
  }

  const BlockedConv& conv_;
  const BlockedConvSpec& s_;
  int64_t in_, out_, packed_;
  Scratch memory_;
};

bool faster(const BlockedConv& a, const BlockedConv& b) {
  const Trial first(a), second(b);
  double time_a = first.seconds(), time_b = second.seconds(), all = time_a + time_b;
  // The first runs paid for page faults.
  for (int i = 0; i < 8 && (i < 2 || all < 0.03); ++i) {
    const double now_a = first.seconds(), now_b = second.seconds();
    time_a = i == 0 ? now_a : std::min(time_a, now_a);
    time_b = i == 0 ? now_b : std::min(time_b, now_b);
    all += now_a + now_b;
  }
  return time_a < time_b;
}

struct Decision {
  BlockedConvSpec spec;
  int threads;
  bool winograd;
};
struct Decisions {
  std::mutex mutex;
  std::vector<Decision> made;
};
Decisions& decisions() {
  static Decisions* const all = new Decisions;
  return *all;
}

bool winograd_wins(const BlockedConvSpec& spec, const BlockedConv& winograd,
                   const BlockedConv& direct) {
  constexpr size_t most = 1024;
  Decisions& all = decisions();
  const int threads = usable_threads();
  const std::lock_guard lock(all.mutex);
  for (const Decision& d : all.made)
    if (d.spec == spec && d.threads == threads) return d.winograd;
  if (all.made.size() >= most) all.made.clear();
  all.made.push_back({spec, threads, faster(winograd, direct)});
  return all.made.back().winograd;
}

}  // namespace

std::shared_ptr<const BlockedConv> BlockedConv::best(BlockedConvSpec spec) {
  const ConvShape& s = spec.shape;
  const bool possible = conv_winograd() && s.kh == 3 && s.kw == 3 && s.stride_h == 1 &&
                        s.stride_w == 1 && s.dil_h == 1 && s.dil_w == 1 && s.groups == 1 &&
                        !spec.x_plain;
  const bool measured = possible && autotune();
  std::shared_ptr<const BlockedConv> direct, winograd;
  spec.winograd = true;
  if (measured || (possible && blocked_winograd_rule(s))) winograd = make(spec);
  if (winograd && !measured) return winograd;
  spec.winograd = false;
  direct = make(spec);
  if (!winograd || !direct) return direct ? direct : winograd;
  return winograd_wins(spec, *winograd, *direct) ? winograd : direct;
}

const BlockedConvSpec& BlockedConv::spec() const noexcept { return impl_->spec; }

void to_blocked(int64_t n, int64_t c, int64_t area, const float* x, float* y) {
  const WinogradKernels& kernels = winograd_kernels();
  const int64_t size = kernels.width * area;
  parallel_for(
      n * c / kernels.width, std::max<int64_t>(1, 16384 / size), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          kernels.from_planes(1, area, kernels.width, x + i * size, area, y + i * size, size);
      });
}

void from_blocked(int64_t n, int64_t c, int64_t area, const float* x, float* y) {
  const WinogradKernels& kernels = winograd_kernels();
  const int64_t size = kernels.width * area;
  parallel_for(n * c / kernels.width, std::max<int64_t>(1, 16384 / size),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i)
                   kernels.to_planes(area, kernels.width, x + i * size, y + i * size, area);
               });
}

}  // namespace tandem::cpu
