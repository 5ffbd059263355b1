#include "tandem/backend/cpu/conv_choice.h"

#include <algorithm>

#include "tandem/backend/cpu/conv_direct.h"
#include "tandem/backend/cpu/conv_winograd.h"

namespace tandem::cpu {
namespace {

using A = ConvAlgorithm;

// Compiling a kernel of oneDNN takes half a millisecond: not for work of a few microseconds.
constexpr double little_work = 2e5;

// Channels come in whole vectors, so that few of them waste most of Winograd's products.
bool enough_channels(const ConvShape& s, int64_t area) {
  const int64_t least = std::min(s.c, s.oc), most = std::max(s.c, s.oc);
  return least >= 16 || (least >= 8 && (most >= 32 || area <= 100));
}

// What the rules look at.
struct Sizes {
  int64_t area, positions, window, filters, elements;
  double work;
  bool pointwise, tiled, few_inputs, direct;

  Sizes(ConvPass pass, const ConvShape& s, bool winograd)
      : area(s.out_h() * s.out_w()),
        positions(s.n * area),
        window(s.kh * s.kw),
        filters(s.c * s.oc),
        elements(s.n * (s.c * s.h * s.w + s.oc * area)),
        work(static_cast<double>(positions * s.oc) * static_cast<double>(s.c / s.groups * window)),
        pointwise(window == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_h == 0 &&
                  s.pad_w == 0 && s.groups == 1),
        tiled(winograd && winograd::applies(s) && enough_channels(s, area)),
        few_inputs(pass == ConvPass::backward_data
                       ? direct::has_transpose(s) && direct::few_inputs(direct::transposed(s))
                       : direct::few_inputs(s)),
        direct(s.groups == 1 && (pass != ConvPass::backward_data || direct::has_transpose(s))) {}
};

A depthwise_rule(ConvPass pass, const Sizes& z) {
  if (z.work < little_work) return A::depthwise;
  switch (pass) {
    case ConvPass::forward: return z.positions <= 9408 || z.window > 9 ? A::blocked : A::depthwise;
    case ConvPass::backward_data: return z.elements <= 3000000 ? A::blocked : A::depthwise;
    default: return z.window > 9 || z.work > 5e7 ? A::depthwise : A::blocked;
  }
}

// The image is its own unfolding: products of matrices. Blocks win where the sums over channels are
// long and the planes small.
A pointwise_rule(ConvPass pass, const ConvShape& s, const Sizes& z) {
  switch (pass) {
    case ConvPass::forward:
      if (z.area <= 100 && std::min(s.c, s.oc) >= 64) return A::blocked;
      return z.elements <= 2000000 ? A::im2col : A::plain;
    case ConvPass::backward_data:
      if (s.oc <= 8 && z.positions <= 70000) return A::direct;
      return z.filters > 200000 && z.area < 400 ? A::blocked : A::im2col;
    default:
      if (std::max(s.c, s.oc) <= 120) return z.positions <= 4 * z.filters ? A::blocked : A::direct;
      return A::im2col;
  }
}

// 3 x 3 filters, which Winograd's sums suit unless there are more of them than positions: then the
// filters' coefficients cost more than they save.
A tiled_rule(ConvPass pass, const ConvShape& s, const Sizes& z) {
  if (pass == ConvPass::backward_weights) {
    if (z.positions * 5000 <= z.filters) return A::plain;
    if (winograd::few_tiles(s) || z.filters < 8192) return A::winograd;
    const bool many = z.positions > 16 * 2000;  // more than oneDNN's buffers leave in a cache
    return many && z.filters <= 128 * 128 ? A::winograd : A::onednn_winograd;
  }
  if (z.positions <= 130 || (z.positions <= 450 && z.positions * 45 <= z.filters)) {
    if (z.positions * 1200 <= z.filters) return A::plain;
    return pass == ConvPass::forward ? A::channels_last : A::blocked;
  }
  // Ours reads the coefficients of all filters anew for a few rows of tiles: they should stay in a
  // cache of the core, or the rows be long.
  const bool ours =
      z.filters <= 128 * 256 || (z.filters <= 256 * 256 && (z.positions <= 1024 || z.area >= 1024));
  return ours ? A::winograd : A::onednn_winograd;
}

A little_rule(const Sizes& z) {
  if (z.tiled && z.positions > 16) return A::winograd;
  return z.few_inputs ? A::direct : A::im2col;
}

A grouped_rule(const ConvShape& s, const Sizes& z) {
  return s.c / s.groups >= 8 && z.window > 1 ? A::blocked : A::im2col;
}

A other_rule(ConvPass pass, const ConvShape& s, const Sizes& z) {
  if (z.window == 1) {  // strided or padded
    const bool many = pass == ConvPass::backward_weights ? z.filters >= 32768 && s.n >= 4
                                                         : std::max(s.c, s.oc) >= 384;
    if (many) return A::blocked;
    return pass == ConvPass::backward_data && z.work > 5e7 ? A::plain : A::im2col;
  }
  const bool small = winograd::applies(s);  // 3 x 3, one step
  if (pass != ConvPass::backward_weights && z.positions * 1600 <= z.filters) return A::im2col;
  switch (pass) {
    case ConvPass::forward:
      if (s.c <= 4 && z.window >= 200) return A::im2col;
      if (s.c <= 4 || s.oc <= 8 || (small && std::min(s.c, s.oc) < 16)) return A::direct;
      return z.positions <= 81 ? A::im2col : A::blocked;
    case ConvPass::backward_data:
      if (!z.direct) return s.c <= 4 ? A::im2col : A::blocked;
      if (s.c <= 4) return small && s.c >= 3 && s.oc <= 48 ? A::direct : A::im2col;
      if (s.h == 1 && s.out_w() > 375) return A::im2col;
      return s.oc <= 8 ? A::direct : A::blocked;
    default:
      if (small && std::min(s.c, s.oc) <= 8) return z.positions <= 7500 ? A::blocked : A::direct;
      if (s.oc <= 8) return A::direct;
      if (s.c <= 4) return z.window > 20 && z.window < 100 ? A::direct : A::blocked;
      if (s.oc <= 26) return A::channels_last;
      return z.positions <= 162 ? A::plain : A::blocked;
  }
}

}  // namespace

ConvChoices conv_rule(ConvPass pass, const ConvShape& s, bool winograd) {
  const Sizes z(pass, s, winograd);
  ConvChoices c;
  if (direct::is_depthwise(s)) {
    c.add(depthwise_rule(pass, z));
    c.add(A::depthwise);
    return c;
  }
  if (z.work < little_work) c.add(little_rule(z));
  else if (s.groups > 1) c.add(grouped_rule(s, z));
  else if (z.pointwise) c.add(pointwise_rule(pass, s, z));
  else if (z.tiled) c.add(tiled_rule(pass, s, z));
  else c.add(other_rule(pass, s, z));
  if (c.list[0] == A::onednn_winograd) c.add(A::winograd);
  c.add(A::im2col);
  return c;
}

ConvChoices conv_candidates(ConvPass pass, const ConvShape& s, bool winograd) {
  const Sizes z(pass, s, winograd);
  ConvChoices c = conv_rule(pass, s, winograd);
  if (z.work < little_work) return c;
  const auto also = [&](A a) {
    if (std::find(c.list, c.list + c.count, a) == c.list + c.count) c.add(a);
  };
  also(A::blocked);
  if (direct::is_depthwise(s)) return c;
  if (z.tiled) {
    also(A::winograd);
    also(A::onednn_winograd);
  }
  if (z.few_inputs || (z.direct && std::min(s.c, s.oc) <= 8)) also(A::direct);
  if (c.count < 5) also(A::plain);
  if (c.count < 5) also(A::channels_last);
  return c;
}

bool blocked_winograd_rule(const ConvShape& s) {
  const int64_t area = s.out_h() * s.out_w(), filters = s.c * s.oc;
  if (filters <= 256) return area > 256;
  return s.n == 1 || s.n * area > 260 || filters <= 256 * 256;
}

}  // namespace tandem::cpu
