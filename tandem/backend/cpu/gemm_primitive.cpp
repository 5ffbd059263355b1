#include "tandem/backend/cpu/gemm_primitive.h"

#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "tandem/backend/cpu/onednn_error.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {
namespace {

struct ShapeHash {
  size_t operator()(const MatmulShape& s) const noexcept {
    uint64_t h =
        (s.bf16 ? 1u : 0u) + (s.trans_a ? 2u : 0u) + (s.trans_b ? 4u : 0u) + (s.bias ? 8u : 0u);
    for (const int64_t v : {s.m, s.n, s.k, s.lda, s.ldb, s.ldc, int64_t{s.threads}}) {
      h = (h ^ static_cast<uint64_t>(v)) * 0x9e3779b97f4a7c15ull;
      h ^= h >> 29;
    }
    return static_cast<size_t>(h);
  }
};

// The primitive of one shape with its memory objects, whose addresses are set at each run.
struct Matmul {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::memory a, b, bias, c;
  std::unordered_map<int, dnnl::memory> args;
  dnnl::matmul primitive;

  explicit Matmul(const MatmulShape& s) {
    using dnnl::memory;
    const auto type = s.bf16 ? memory::data_type::bf16 : memory::data_type::f32;
    const auto desc = [&](int64_t rows, int64_t cols, bool trans, int64_t ld) {
      return memory::desc({rows, cols}, type, trans ? memory::dims{1, ld} : memory::dims{ld, 1});
    };
    const auto da = desc(s.m, s.k, s.trans_a, s.lda);
    const auto db = desc(s.k, s.n, s.trans_b, s.ldb);
    const auto dc = desc(s.m, s.n, false, s.ldc);
    const memory::desc dbias({1, s.n}, memory::data_type::f32, memory::dims{s.n, 1});
    const auto op = s.bias ? dnnl::matmul::desc(da, db, dbias, dc) : dnnl::matmul::desc(da, db, dc);
    primitive = dnnl::matmul(dnnl::matmul::primitive_desc(op, engine));
    a = memory(da, engine, nullptr);
    b = memory(db, engine, nullptr);
    c = memory(dc, engine, nullptr);
    args = {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}};
    if (!s.bias) return;
    bias = memory(dbias, engine, nullptr);
    args.emplace(DNNL_ARG_BIAS, bias);
  }
};

}  // namespace

bool matmul_primitive(MatmulShape shape, const void* a, const void* b, const float* bias, void* c) {
  constexpr size_t most = 256;
  static thread_local std::unordered_map<MatmulShape, std::unique_ptr<Matmul>, ShapeHash> made;
  const OmpScope threads;
  shape.threads = usable_threads();
  shape.bias = bias != nullptr;
  try {
    auto found = made.find(shape);
    if (found == made.end()) {
      if (made.size() >= most) made.clear();
      found = made.emplace(shape, std::make_unique<Matmul>(shape)).first;
    }
    Matmul& product = *found->second;
    product.a.set_data_handle(const_cast<void*>(a));
    product.b.set_data_handle(const_cast<void*>(b));
    product.c.set_data_handle(c);
    if (bias != nullptr) product.bias.set_data_handle(const_cast<float*>(bias));
    product.primitive.execute(product.stream, product.args);
    return true;
  } catch (const dnnl::error& e) {
    check_memory(e);
    return false;
  }
}

}  // namespace tandem::cpu
