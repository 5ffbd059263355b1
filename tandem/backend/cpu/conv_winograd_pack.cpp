#include "tandem/backend/cpu/conv_winograd_pack.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <tuple>
#include <vector>

#include "tandem/backend/cpu/gemm_kernels.h"
#include "tandem/backend/cpu/onednn_error.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/op/simd.h"

namespace tandem::cpu {
namespace {

constexpr int taps = 9, most_side = 6;

// Evaluation of a filter of 3 at points 0, +-a, +-b and infinity (Toom and Cook): [side][3].
struct Evaluation {
  int side;
  float g[most_side][3] = {};

  // F(2, 3) has the points 0, +-1; F(4, 3) of oneDNN 0, +-5/8, +-3/2.
  explicit Evaluation(int n) : side(n) {
    const double a = n == 4 ? 1 : 0.625, b = n == 4 ? 0 : 1.5;
    const auto row = [&](int i, double scale, double x) {
      for (int k = 0; k < 3; ++k) g[i][k] = static_cast<float>(scale * std::pow(x, k));
    };
    if (n == 4) {
      row(0, 1, 0);
      row(1, 0.5, a);
      row(2, 0.5, -a);
    } else {
      const double at_a = 1 / (2 * a * a * (a * a - b * b)),
                   at_b = 1 / (2 * b * b * (b * b - a * a));
      row(0, 1 / (a * a * b * b), 0);
      row(1, at_a, a);
      row(2, at_a, -a);
      row(3, at_b, b);
      row(4, at_b, -b);
    }
    g[n - 1][2] = 1;
  }
};

// Where the vector of coefficient (a, b) of input channel i and of the block `o` of outputs lies.
struct Order {
  dnnl_wino_desc_t d;

  int64_t lanes() const { return d.oc_block; }
  int64_t inputs() const { return d.ic / d.ic_block; }
  int64_t outputs() const { return d.oc / d.oc_block; }
  int64_t operator()(int64_t a, int64_t b, int64_t i, int64_t o) const {
    const int64_t ab = a * d.alpha + b, in = i / d.ic_block, inner = i % d.ic_block;
    switch (d.wino_format) {
      case dnnl_wino_wei_aaOio: return ((ab * outputs() + o) * d.ic + i) * lanes();
      case dnnl_wino_wei_aaOBiOo:
        return (((ab * (outputs() / d.oc2_block) + o / d.oc2_block) * d.ic + i) * d.oc2_block +
                o % d.oc2_block) *
               lanes();
      default: {  // OBaaIBOIio
        const int64_t outer = (o / d.oc2_block) * d.alpha * d.alpha + ab;
        const int64_t chunk = outer * (inputs() / d.ic2_block) + in / d.ic2_block;
        const int64_t pair = chunk * d.oc2_block + o % d.oc2_block;
        return ((pair * d.ic2_block + in % d.ic2_block) * d.ic_block + inner) * lanes();
      }
    }
  }
};

bool is_known(const dnnl_memory_desc_t& m) {
  if (m.format_kind != dnnl_format_kind_wino || m.extra.flags != 0 || m.ndims != 4) return false;
  const dnnl_wino_desc_t& d = m.format_desc.wino_desc;
  const bool four = d.wino_format == dnnl_wino_wei_OBaaIBOIio;
  const bool two = d.wino_format == dnnl_wino_wei_aaOio || d.wino_format == dnnl_wino_wei_aaOBiOo;
  return (four || two) && d.alpha == (four ? 6 : 4) && d.r == 3 && d.adj_scale == 1.0f &&
         d.ic == m.dims[1] && d.oc == m.dims[0] && m.dims[2] == 3 && m.dims[3] == 3 &&
         (d.oc_block == 8 || d.oc_block == 16) && d.ic_block > 0 &&
         d.oc % (d.oc_block * std::max(d.oc2_block, 1)) == 0 &&
         d.ic % (d.ic_block * std::max(d.ic2_block, 1)) == 0 && d.oc2_block > 0 && d.ic2_block > 0;
}

// V = G g G^T of a vector of filters; g[k * lanes], to[position of (a, b)].
template <int lanes>
TANDEM_FN void evaluate(const Evaluation& e, const float* g, const Order& order, int64_t i,
                        int64_t o, float* to) {
  float half[most_side][3][lanes];
  for (int a = 0; a < e.side; ++a)
    for (int k = 0; k < 3; ++k)
#pragma omp simd
      for (int l = 0; l < lanes; ++l)
        half[a][k][l] = e.g[a][0] * g[k * lanes + l] + e.g[a][1] * g[(3 + k) * lanes + l] +
                        e.g[a][2] * g[(6 + k) * lanes + l];
  for (int a = 0; a < e.side; ++a)
    for (int b = 0; b < e.side; ++b) {
      float* v = to + order(a, b, i, o);
#pragma omp simd
      for (int l = 0; l < lanes; ++l)
        v[l] = half[a][0][l] * e.g[b][0] + half[a][1][l] * e.g[b][1] + half[a][2][l] * e.g[b][2];
    }
}

void pack(const dnnl_wino_desc_t& d, const float* w, float* packed) {
  const Order order{d};
  const Evaluation e(d.alpha);
  const int64_t blocks = order.inputs(), lanes = order.lanes();
  const auto transpose = gemm_kernels<float>().transpose;
  parallel_for(blocks * order.outputs(), 4, [&](int64_t begin, int64_t end) {
    // The filters of a block by a block, turned so that a vector holds one element of each output.
    const Scratch memory(static_cast<size_t>(d.ic_block * taps * lanes) * sizeof(float));
    float* const g = memory.as<float>();
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / blocks, i = task % blocks * d.ic_block;
      transpose(lanes, d.ic_block * taps, w + (o * lanes * d.ic + i) * taps, d.ic * taps, g, lanes);
      simd([&] {
        for (int64_t k = 0; k < d.ic_block; ++k) {
          const float* const from = g + k * taps * lanes;
          if (lanes == 16) evaluate<16>(e, from, order, i + k, o, packed);
          else evaluate<8>(e, from, order, i + k, o, packed);
        }
      });
    }
  });
}

// Packs a few small blocks of blocks in both ways. oneDNN calls these orders internal.
bool is_as_described(const dnnl_memory_desc_t& m) {
  dnnl_memory_desc_t small = m;
  dnnl_wino_desc_t& d = small.format_desc.wino_desc;
  d.ic2_block = std::min(d.ic2_block, 2);
  d.oc2_block = std::min(d.oc2_block, 3);
  d.ic = 2 * d.ic_block * d.ic2_block;
  d.oc = 2 * d.oc_block * d.oc2_block;
  d.size = sizeof(float) * static_cast<size_t>(d.alpha * d.alpha) * static_cast<size_t>(d.ic) *
           static_cast<size_t>(d.oc);
  small.dims[0] = small.padded_dims[0] = d.oc;
  small.dims[1] = small.padded_dims[1] = d.ic;
  const size_t count = static_cast<size_t>(d.oc) * static_cast<size_t>(d.ic) * taps;
  std::vector<float> w(count), ours(d.size / sizeof(float)), theirs(ours.size());
  for (size_t k = 0; k < count; ++k) w[k] = static_cast<float>((k * 40503u) % 1009u) / 1009.0f;
  try {
    const OmpScope threads;
    using dnnl::memory;
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    const memory::desc plain({d.oc, d.ic, 3, 3}, memory::data_type::f32, memory::format_tag::oihw);
    const memory::desc wanted(small);
    const memory from(plain, engine, w.data()), to(wanted, engine, theirs.data());
    dnnl::reorder(from, to).execute(stream, const_cast<memory&>(from), const_cast<memory&>(to));
  } catch (const dnnl::error& e) {
    check_memory(e);
    return false;
  }
  pack(d, w.data(), ours.data());
  for (size_t k = 0; k < ours.size(); ++k)
    if (!(std::abs(ours[k] - theirs[k]) <= 1e-4f)) return false;
  return true;
}

// The answer of is_as_described, asked once for each order.
bool is_trusted(const dnnl_memory_desc_t& m) {
  using Name = std::tuple<int, int, int, int, int>;
  static std::mutex mutex;
  static auto& known = *new std::vector<std::pair<Name, bool>>;
  const dnnl_wino_desc_t& d = m.format_desc.wino_desc;
  const Name name{d.wino_format, d.ic_block, d.oc_block, std::min(d.ic2_block, 2),
                  std::min(d.oc2_block, 3)};
  const std::lock_guard lock(mutex);
  for (const auto& [order, trusted] : known)
    if (order == name) return trusted;
  const bool trusted = is_as_described(m);
  known.emplace_back(name, trusted);
  return trusted;
}

}  // namespace

bool pack_winograd(const void* to, const float* w, float* packed) {
  const auto& m = *static_cast<const dnnl_memory_desc_t*>(to);
  if (!is_known(m) || !is_trusted(m)) return false;
  pack(m.format_desc.wino_desc, w, packed);
  return true;
}

}  // namespace tandem::cpu
