#include "tandem/backend/cpu/gemm.h"

#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>

#include "tandem/backend/cpu/gemm_kernels.h"
#include "tandem/backend/cpu/gemm_primitive.h"
#include "tandem/backend/cpu/gemm_thin.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/core/error.h"
#include "tandem/core/threads.h"

namespace tandem::cpu {
namespace {

// Below this many multiply-adds a library call costs more than the product itself.
constexpr double small_macs = 20000;
// A fork and cold operands cost more than a second thread gains.
constexpr double fork_macs = 160000;
// A second thread pays from here on.
constexpr double parallel_macs = 60000;

template <class T>
struct Product {
  bool trans_a, trans_b;
  int64_t m, n, k;
  const T* a;
  int64_t lda;
  const T* b;
  int64_t ldb;
  Epilogue<T> e;
  T* c;
  int64_t ldc;
  RowsDone done = {};

  double macs() const {
    return static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
void finish_row(int64_t n, const T* sum, int64_t inc, const Epilogue<T>& e, T* c) {
  for (int64_t j = 0; j < n; ++j) {
    T r = e.alpha * sum[j * inc];
    if (e.bias != nullptr) r += e.bias[j];
    if (e.beta != T{0}) r += e.beta * c[j];
    c[j] = r;
  }
}

// No products to add: C = beta C + bias.
template <class T>
void scale_only(const Product<T>& g) {
  const T none{0};
  for (int64_t i = 0; i < g.m; ++i) {
    T* row = g.c + i * g.ldc;
    for (int64_t j = 0; j < g.n; ++j) {
      const T kept = g.e.beta == T{0} ? none : g.e.beta * row[j];
      row[j] = g.e.bias == nullptr ? kept : kept + g.e.bias[j];
    }
  }
}

// y[i * inc] = alpha M[i, :] x + beta y[i * inc], M of `rows` contiguous rows of length k.
template <class T>
void gemv_rows(int64_t rows, int64_t k, const T* a, int64_t lda, const T* x, int64_t inc_x, T alpha,
               T beta, T* y, int64_t inc_y) {
  const GemmKernels<T>& kernels = gemm_kernels<T>();
  const auto run = [&](const T* dense) {
    const int64_t grain = std::max<int64_t>(4, 65536 / k);
    parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
      kernels.gemv_rows(end - begin, k, a + begin * lda, lda, dense, alpha, beta, y + begin * inc_y,
                        inc_y);
    });
  };
  if (inc_x == 1) return run(x);
  const Scratch copy(static_cast<size_t>(k) * sizeof(T));
  T* dense = copy.as<T>();
  for (int64_t p = 0; p < k; ++p) dense[p] = x[p * inc_x];
  run(dense);
}

// y[j * inc] = alpha sum_p x[p] M[p, j] + beta y[j * inc], M of k contiguous rows of length n.
// Work is cut into strips of columns, and a narrow M along k too; the cut depends on the shape
// alone, so that the sums are the same for any number of threads.
template <class T>
void gemv_columns(int64_t n, int64_t k, const T* b, int64_t ldb, const T* x, int64_t inc_x, T alpha,
                  T beta, T* y, int64_t inc_y) {
  const GemmKernels<T>& kernels = gemm_kernels<T>();
  constexpr int64_t strip = 4096 / sizeof(T);
  const int64_t strips = ceil_div(n, strip);
  const bool small = static_cast<double>(n) * static_cast<double>(k) < 65536;
  int64_t cuts = 1;
  if (!small && strips < 8) cuts = std::clamp<int64_t>(k / 256, 1, ceil_div(16, strips));
  const int64_t cut = ceil_div(ceil_div(k, cuts), 8) * 8;
  cuts = ceil_div(k, cut);
  const bool in_place = cuts == 1 && alpha == T{1} && beta == T{0} && inc_y == 1;
  const Scratch partial(in_place ? 64 : static_cast<size_t>(cuts * n) * sizeof(T));
  T* sums = in_place ? y : partial.as<T>();
  parallel_for(strips * cuts, small ? strips * cuts : 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t j = task % strips * strip;
      const int64_t p = task / strips * cut;
      kernels.gemv_columns(std::min(strip, n - j), std::min(cut, k - p), b + p * ldb + j, ldb,
                           x + p * inc_x, inc_x, sums + task / strips * n + j);
    }
  });
  if (in_place) return;
  for (int64_t i = 1; i < cuts; ++i) {
    for (int64_t j = 0; j < n; ++j) sums[j] += sums[i * n + j];
  }
  for (int64_t j = 0; j < n; ++j) {
    const T kept = beta == T{0} ? T{0} : beta * y[j * inc_y];
    y[j * inc_y] = alpha * sums[j] + kept;
  }
}

template <class T>
void vector_product(const Product<T>& g) {
  if (g.m == 1) {
    const int64_t inc = g.trans_a ? g.lda : 1;
    if (g.trans_b) {
      gemv_rows(g.n, g.k, g.b, g.ldb, g.a, inc, g.e.alpha, g.e.beta, g.c, 1);
    } else {
      gemv_columns(g.n, g.k, g.b, g.ldb, g.a, inc, g.e.alpha, g.e.beta, g.c, 1);
    }
    for (int64_t j = 0; g.e.bias != nullptr && j < g.n; ++j) g.c[j] += g.e.bias[j];
    return;
  }
  const int64_t inc = g.trans_b ? 1 : g.ldb;
  if (g.trans_a) {
    gemv_columns(g.m, g.k, g.a, g.lda, g.b, inc, g.e.alpha, g.e.beta, g.c, g.ldc);
  } else {
    gemv_rows(g.m, g.k, g.a, g.lda, g.b, inc, g.e.alpha, g.e.beta, g.c, g.ldc);
  }
  for (int64_t i = 0; g.e.bias != nullptr && i < g.m; ++i) g.c[i * g.ldc] += g.e.bias[0];
}

template <class T>
void small_product(const Product<T>& g) {
  const GemmKernels<T>& kernels = gemm_kernels<T>();
  if (!g.trans_b) {
    const int64_t row = g.trans_a ? 1 : g.lda;
    const int64_t col = g.trans_a ? g.lda : 1;
    kernels.direct(g.m, g.n, g.k, g.a, row, col, g.b, g.ldb, g.e, g.c, g.ldc);
    return;
  }
  // Transposing B costs more the fewer rows of A use it; few columns leave lanes idle.
  const int64_t dot_length = g.n <= 8 ? std::min<int64_t>(64, 24 * g.m) : 24 * g.m;
  if (!g.trans_a && g.k >= dot_length) {
    kernels.dots(g.m, g.n, g.k, g.a, g.lda, g.b, g.ldb, g.e, g.c, g.ldc);
    return;
  }
  constexpr int64_t on_stack = 4096;
  alignas(64) T stack[on_stack];
  const int64_t ldt = g.trans_a ? g.m : ceil_div(g.n, kernels.width) * kernels.width;
  const int64_t size = ldt * (g.trans_a ? g.n : g.k);
  std::optional<Scratch> heap;
  if (size > on_stack) heap.emplace(static_cast<size_t>(size) * sizeof(T));
  T* t = heap ? heap->as<T>() : stack;
  if (!g.trans_a) {
    kernels.transpose(g.n, g.k, g.b, g.ldb, t, ldt);
    kernels.direct(g.m, g.n, g.k, g.a, g.lda, 1, t, ldt, g.e, g.c, g.ldc);
    return;
  }
  // C^T = B A needs no transposed operand.
  kernels.direct(g.n, g.m, g.k, g.b, g.ldb, 1, g.a, g.lda, Epilogue<T>{}, t, ldt);
  for (int64_t i = 0; i < g.m; ++i) finish_row(g.n, t + i, ldt, g.e, g.c + i * g.ldc);
}

// Rows [0, rows) of a k-long panel, interleaved `width` wide and filled up with zeros. The source
// is rows x k as stored (`along_k`) or k x rows.
template <class T>
void pack(const GemmKernels<T>& kernels, int64_t width, int64_t rows, int64_t k, const T* src,
          int64_t ld, bool along_k, T* dst) {
  if (along_k) {
    kernels.transpose(rows, k, src, ld, dst, width);
    return;
  }
  for (int64_t p = 0; p < k; ++p) {
    const T* s = src + p * ld;
    T* d = dst + p * width;
    int64_t i = 0;
    for (; i < rows; ++i) d[i] = s[i];
    for (; i < width; ++i) d[i] = T{0};
  }
}

// Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): B in panels
// that stay in the first-level cache, A in blocks that stay in the second.
template <class T>
void blocked_product(const Product<T>& g) {
  const GemmKernels<T>& kernels = gemm_kernels<T>();
  constexpr int64_t kc_max = 1536 / sizeof(T);
  const int64_t mr = kernels.mr;
  const int64_t nr = kernels.nr;
  const int64_t mc = mr * 8;
  const int64_t nc_max = ceil_div(2048, nr) * nr;
  const int64_t row_blocks = ceil_div(g.m, mc);
  const Scratch packed_b(static_cast<size_t>(ceil_div(std::min(g.n, nc_max), nr) * nr *
                                             std::min(g.k, kc_max) * int64_t{sizeof(T)}));
  T* const bp = packed_b.as<T>();
  for (int64_t jc = 0; jc < g.n; jc += nc_max) {
    const int64_t nc = std::min(nc_max, g.n - jc);
    const int64_t panels = ceil_div(nc, nr);
    for (int64_t pc = 0; pc < g.k; pc += kc_max) {
      const int64_t kc = std::min(kc_max, g.k - pc);
      parallel_for(panels, 4, [&](int64_t begin, int64_t end) {
        for (int64_t panel = begin; panel < end; ++panel) {
          const int64_t j = jc + panel * nr;
          const T* src = g.trans_b ? g.b + j * g.ldb + pc : g.b + pc * g.ldb + j;
          pack(kernels, nr, std::min(nr, g.n - j), kc, src, g.ldb, g.trans_b, bp + panel * nr * kc);
        }
      });
      Epilogue<T> e = g.e;
      if (pc > 0) e = {g.e.alpha, T{1}, nullptr};
      // Few row blocks: share their columns out as well.
      const int64_t wanted = ceil_div(8 * usable_threads(), row_blocks);
      const int64_t groups = std::clamp<int64_t>(wanted, 1, ceil_div(panels, 8));
      const int64_t group = ceil_div(panels, groups);
      parallel_for(row_blocks * groups, 1, [&](int64_t begin, int64_t end) {
        const Scratch packed_a(static_cast<size_t>(mc * kc) * sizeof(T));
        T* const ap = packed_a.as<T>();
        int64_t have = -1;
        for (int64_t task = begin; task < end; ++task) {
          const int64_t block = task / groups;
          const int64_t rows = std::min(mc, g.m - block * mc);
          if (block != have) {
            for (int64_t i = 0; i < rows; i += mr) {
              const int64_t row = block * mc + i;
              const T* src = g.trans_a ? g.a + pc * g.lda + row : g.a + row * g.lda + pc;
              pack(kernels, mr, std::min(mr, rows - i), kc, src, g.lda, !g.trans_a, ap + i * kc);
            }
            have = block;
          }
          const int64_t last = std::min(panels, (task % groups + 1) * group);
          for (int64_t panel = task % groups * group; panel < last; ++panel) {
            const int64_t j = jc + panel * nr;
            const T* bias = e.bias == nullptr ? nullptr : e.bias + j;
            for (int64_t i = 0; i < rows; i += mr) {
              kernels.packed(std::min(mr, rows - i), std::min(nr, g.n - j), kc, ap + i * kc,
                             bp + panel * nr * kc, e, bias, g.c + (block * mc + i) * g.ldc + j,
                             g.ldc);
            }
          }
        }
      });
    }
  }
}

bool large_product(const Product<double>& g) {
  blocked_product(g);
  return false;
}

// On A B^T oneDNN's sgemm falls to a third of its speed for some shapes; its matmul does not.
bool matmul_is_better(const Product<float>& g) {
  return g.trans_b && !g.trans_a && g.m >= 16 && g.e.alpha == 1.0f && g.e.beta == 0.0f;
}

// True where the last vector of C's columns would be mostly empty, as with 100 classes, and C^T has
// whole ones.
bool turning_is_better(const Product<float>& g) {
  const int64_t nr = gemm_kernels<float>().nr, width = gemm_kernels<float>().width;
  const int64_t filled = ceil_div(g.n, width) * width;
  return g.trans_b && !g.trans_a && g.e.beta == 0.0f && g.m >= 2 * nr && g.m % nr == 0 &&
         filled * 12 > g.n * 13;
}

// C^T = B A^T, a few rows of A at a time as the columns of a register tile; B is read in place.
void turned_rows(const Product<float>& g) {
  constexpr int64_t kc_max = 1024;
  const GemmKernels<float>& kernels = gemm_kernels<float>();
  const int64_t nr = kernels.nr, kc = std::min(kc_max, g.k);
  parallel_for(g.m / nr, 1, [&](int64_t begin, int64_t end) {
    const Scratch panel(static_cast<size_t>(nr * kc) * sizeof(float));
    const Scratch turned(static_cast<size_t>(nr * g.n) * sizeof(float));
    float *packed = panel.as<float>(), *sums = turned.as<float>();
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block * nr;
      for (int64_t p = 0; p < g.k; p += kc) {
        const int64_t length = std::min(kc, g.k - p);
        kernels.transpose(nr, length, g.a + row * g.lda + p, g.lda, packed, nr);
        const Epilogue<float> add{1.0f, p == 0 ? 0.0f : 1.0f, nullptr};
        kernels.direct(g.n, nr, length, g.b + p, g.ldb, 1, packed, nr, add, sums, nr);
      }
      for (int64_t i = 0; i < nr; ++i) {
        finish_row(g.n, sums + i, nr, g.e, g.c + (row + i) * g.ldc);
      }
    }
  });
}

// Where something waits for finished rows, a kernel that gives them early is worth a few per cent.
bool strips_are_better(const Product<float>& g) {
  return g.done.fn != nullptr && !g.done.same_kernel && !g.trans_b && g.k <= 256 &&
         g.e.alpha == 1.0f && g.e.beta == 0.0f && g.e.bias == nullptr;
}

// True when `done` was called. oneDNN's sgemm has no bias: C starts as the bias (or as beta C +
// bias) and is added to.
bool large_product(const Product<float>& g) {
  std::optional<SingleThread> alone;
  if (g.macs() < fork_macs) alone.emplace();
  if (strips_are_better(g)) {
    strip_product(g.m, g.n, g.k, g.a, g.trans_a ? 1 : g.lda, g.trans_a ? g.lda : 1, g.b, g.ldb, g.c,
                  g.ldc, g.done);
    return true;
  }
  if (turning_is_better(g)) {
    if (g.n < g.m || g.e.alpha != 1.0f || !turned_suits(g.m, g.n, g.k)) turned_rows(g);
    else turned_product(g.m, g.n, g.k, g.a, g.lda, g.b, g.ldb, g.e.bias, g.c, g.ldc);
    return false;
  }
  if (matmul_is_better(g) &&
      matmul_primitive({false, false, true, false, g.m, g.n, g.k, g.lda, g.ldb, g.ldc}, g.a, g.b,
                       g.e.bias, g.c)) {
    return false;
  }
  float beta = g.e.beta;
  if (g.e.bias != nullptr) {
    parallel_for(g.m, std::max<int64_t>(1, 65536 / g.n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float* row = g.c + i * g.ldc;
        if (beta == 0.0f) {
          std::copy_n(g.e.bias, g.n, row);
        } else {
          for (int64_t j = 0; j < g.n; ++j) row[j] = beta * row[j] + g.e.bias[j];
        }
      }
    });
    beta = 1.0f;
  }
  dnnl_status_t status;
  {
    const OmpScope threads;
    status = dnnl_sgemm(g.trans_a ? 'T' : 'N', g.trans_b ? 'T' : 'N', g.m, g.n, g.k, g.e.alpha, g.a,
                        g.lda, g.b, g.ldb, beta, g.c, g.ldc);
  }
  if (status == dnnl_success) return false;
  if (status == dnnl_out_of_memory)
    throw OutOfMemory("allocate: oneDNN got no memory from the system");
  Product<float> again = g;
  again.e = {g.e.alpha, beta, nullptr};
  blocked_product(again);
  return false;
}

template <class T>
void product(const Product<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0 || g.e.alpha == T{0}) scale_only(g);
  else if (g.n == 1 || (g.m == 1 && (g.trans_b || g.macs() >= small_macs))) vector_product(g);
  else if (g.macs() < small_macs) small_product(g);
  else if (large_product(g)) return;
  if (g.done.fn == nullptr) return;
  parallel_for(g.m, std::max<int64_t>(1, 16384 / g.n),
               [&](int64_t begin, int64_t end) { g.done.fn(g.done.self, begin, end); });
}

template <class T>
void batched(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k, T alpha,
             const T* a, int64_t lda, int64_t stride_a, const T* b, int64_t ldb, int64_t stride_b,
             T beta, T* c, int64_t ldc, int64_t stride_c) {
  const double macs = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      gemm(trans_a, trans_b, m, n, k, alpha, a + i * stride_a, lda, b + i * stride_b, ldb, beta,
           c + i * stride_c, ldc);
    }
  };
  // One product a thread saves a fork a product; few big ones are better shared inside.
  if (batch < 2 * num_threads() && macs >= parallel_macs) return some(0, batch);
  const auto grain = static_cast<int64_t>(parallel_macs / std::max(1.0, macs));
  parallel_for(batch, std::max<int64_t>(1, grain), some);
}

}  // namespace

void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
          int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc,
          const RowsDone& done) {
  product<float>({trans_a, trans_b, m, n, k, a, lda, b, ldb, {alpha, beta, nullptr}, c, ldc, done});
}

void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
          const double* a, int64_t lda, const double* b, int64_t ldb, double beta, double* c,
          int64_t ldc, const RowsDone& done) {
  product<double>(
      {trans_a, trans_b, m, n, k, a, lda, b, ldb, {alpha, beta, nullptr}, c, ldc, done});
}

void linear(int64_t m, int64_t n, int64_t k, const float* x, int64_t ldx, const float* w,
            int64_t ldw, const float* bias, float* y, int64_t ldy, const RowsDone& done) {
  product<float>({false, true, m, n, k, x, ldx, w, ldw, {1.0f, 0.0f, bias}, y, ldy, done});
}

void linear(int64_t m, int64_t n, int64_t k, const double* x, int64_t ldx, const double* w,
            int64_t ldw, const double* bias, double* y, int64_t ldy, const RowsDone& done) {
  product<double>({false, true, m, n, k, x, ldx, w, ldw, {1.0, 0.0, bias}, y, ldy, done});
}

template <class T>
void gemm_batched(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                  T alpha, const T* a, int64_t lda, int64_t stride_a, const T* b, int64_t ldb,
                  int64_t stride_b, T beta, T* c, int64_t ldc, int64_t stride_c) {
  batched(trans_a, trans_b, batch, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc,
          stride_c);
}

#define TANDEM_BATCHED(T)                                                                          \
  template TANDEM_API void gemm_batched<T>(bool, bool, int64_t, int64_t, int64_t, int64_t, T,      \
                                           const T*, int64_t, int64_t, const T*, int64_t, int64_t, \
                                           T, T*, int64_t, int64_t);
TANDEM_BATCHED(float)
TANDEM_BATCHED(double)
TANDEM_BATCHED(int32_t)
TANDEM_BATCHED(int64_t)
TANDEM_BATCHED(int8_t)
TANDEM_BATCHED(uint8_t)
TANDEM_BATCHED(int16_t)
#undef TANDEM_BATCHED

}  // namespace tandem::cpu
