// Included once per instruction set, inside its namespace and target region. `Vec<T>` is the vector
// of that set, `NarrowVec<T>` the one for few columns, `TurnVec<T>` the one that transposes;
// mr_of<T>() the rows of the register tile.

// M rows and N vectors of C stay in registers while the loop runs over k.
template <class S, int M, int N, class T>
void tile(int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t ldb,
          int64_t cols, const Epilogue<T>& e, const T* bias, T* c, int64_t ldc) {
  constexpr int W = S::width;
  const auto mask = S::mask(cols - (N - 1) * W);
  typename S::V acc[M][N];
  TANDEM_UNROLL for (int i = 0; i < M; ++i) {
    TANDEM_UNROLL for (int v = 0; v < N; ++v) acc[i][v] = S::zero();
  }
  for (int64_t p = 0; p < k; ++p) {
    typename S::V bv[N];
    TANDEM_UNROLL for (int v = 0; v < N; ++v) {
      bv[v] = v + 1 < N ? S::load(b + v * W) : S::load(b + v * W, mask);
    }
    TANDEM_UNROLL for (int i = 0; i < M; ++i) {
      const auto av = S::set1(a[i * a_row]);
      TANDEM_UNROLL for (int v = 0; v < N; ++v) acc[i][v] = S::fma(av, bv[v], acc[i][v]);
    }
    a += a_col;
    b += ldb;
  }
  const bool scale = e.alpha != T{1};
  const auto alpha = S::set1(e.alpha);
  const auto beta = S::set1(e.beta);
  TANDEM_UNROLL for (int v = 0; v < N; ++v) {
    const bool whole = v + 1 < N;
    auto add = S::zero();
    if (bias != nullptr) add = whole ? S::load(bias + v * W) : S::load(bias + v * W, mask);
    TANDEM_UNROLL for (int i = 0; i < M; ++i) {
      auto r = acc[i][v];
      if (scale) r = S::mul(r, alpha);
      if (bias != nullptr) r = S::add(r, add);
      T* out = c + i * ldc + v * W;
      if (e.beta != T{0}) {
        r = S::fma(beta, whole ? S::load(out) : S::load(out, mask), r);
      }
      whole ? S::store(out, r) : S::store(out, r, mask);
    }
  }
}

template <class S, int N, class T>
void tile_rows(int64_t rows, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b,
               int64_t ldb, int64_t cols, const Epilogue<T>& e, const T* bias, T* c, int64_t ldc) {
  constexpr int R = mr_of<T>();
  switch (rows) {
#define TANDEM_ROWS(M)                                                  \
  case M:                                                               \
    if constexpr (M <= R) {                                             \
      tile<S, M, N>(k, a, a_row, a_col, b, ldb, cols, e, bias, c, ldc); \
    }                                                                   \
    break;
    TANDEM_ROWS(1)
    TANDEM_ROWS(2)
    TANDEM_ROWS(3)
    TANDEM_ROWS(4)
    TANDEM_ROWS(5)
    TANDEM_ROWS(6)
    TANDEM_ROWS(7)
    TANDEM_ROWS(8)
    TANDEM_ROWS(9)
    TANDEM_ROWS(10)
    TANDEM_ROWS(11)
    TANDEM_ROWS(12)
#undef TANDEM_ROWS
    default: break;
  }
}

template <class T>
void direct(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b,
            int64_t ldb, const Epilogue<T>& e, T* c, int64_t ldc) {
  constexpr int W = Vec<T>::width;
  constexpr int R = mr_of<T>();
  // Even shares: 14 rows as 7 + 7 keep the multipliers busier than 12 + 2.
  const int64_t blocks = (m + R - 1) / R;
  if (n <= NarrowVec<T>::width) {
    for (int64_t block = blocks; block > 0; --block) {
      const int64_t rows = (m + block - 1) / block;
      tile_rows<NarrowVec<T>, 1>(rows, k, a, a_row, a_col, b, ldb, n, e, e.bias, c, ldc);
      a += rows * a_row;
      c += rows * ldc;
      m -= rows;
    }
    return;
  }
  for (int64_t j = 0; j < n; j += 2 * W) {
    const int64_t cols = n - j < 2 * W ? n - j : 2 * W;
    const T* bias = e.bias == nullptr ? nullptr : e.bias + j;
    int64_t i = 0;
    for (int64_t block = blocks; block > 0; --block) {
      const int64_t rows = (m - i + block - 1) / block;
      if (cols > W) {
        tile_rows<Vec<T>, 2>(rows, k, a + i * a_row, a_row, a_col, b + j, ldb, cols, e, bias,
                             c + i * ldc + j, ldc);
      } else {
        tile_rows<Vec<T>, 1>(rows, k, a + i * a_row, a_row, a_col, b + j, ldb, cols, e, bias,
                             c + i * ldc + j, ldc);
      }
      i += rows;
    }
  }
}

template <class T>
void packed(int64_t rows, int64_t cols, int64_t k, const T* a, const T* b, const Epilogue<T>& e,
            const T* bias, T* c, int64_t ldc) {
  constexpr int W = Vec<T>::width;
  if (cols > W) {
    tile_rows<Vec<T>, 2>(rows, k, a, 1, mr_of<T>(), b, 2 * W, cols, e, bias, c, ldc);
  } else {
    tile_rows<Vec<T>, 1>(rows, k, a, 1, mr_of<T>(), b, 2 * W, cols, e, bias, c, ldc);
  }
}

template <class T>
void finish(T sum, int64_t j, const Epilogue<T>& e, T* out) {
  T r = e.alpha * sum;
  if (e.bias != nullptr) r += e.bias[j];
  if (e.beta != T{0}) r += e.beta * *out;
  *out = r;
}

// MA rows of A by MB rows of B, inner products along k.
template <class T, int MA, int MB>
void dot_tile(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T (&sums)[MA][MB]) {
  using S = Vec<T>;
  constexpr int W = S::width;
  typename S::V acc[MA][MB];
  TANDEM_UNROLL for (int i = 0; i < MA; ++i) {
    TANDEM_UNROLL for (int j = 0; j < MB; ++j) acc[i][j] = S::zero();
  }
  int64_t p = 0;
  for (; p + W <= k; p += W) {
    typename S::V bv[MB];
    TANDEM_UNROLL for (int j = 0; j < MB; ++j) bv[j] = S::load(b + j * ldb + p);
    TANDEM_UNROLL for (int i = 0; i < MA; ++i) {
      const auto av = S::load(a + i * lda + p);
      TANDEM_UNROLL for (int j = 0; j < MB; ++j) acc[i][j] = S::fma(av, bv[j], acc[i][j]);
    }
  }
  if (p < k) {
    const auto mask = S::mask(k - p);
    typename S::V bv[MB];
    TANDEM_UNROLL for (int j = 0; j < MB; ++j) bv[j] = S::load(b + j * ldb + p, mask);
    TANDEM_UNROLL for (int i = 0; i < MA; ++i) {
      const auto av = S::load(a + i * lda + p, mask);
      TANDEM_UNROLL for (int j = 0; j < MB; ++j) acc[i][j] = S::fma(av, bv[j], acc[i][j]);
    }
  }
  TANDEM_UNROLL for (int i = 0; i < MA; ++i) {
    if constexpr (MB == 4) {
      S::sum4(acc[i][0], acc[i][1], acc[i][2], acc[i][3], sums[i]);
    } else {
      TANDEM_UNROLL for (int j = 0; j < MB; ++j) sums[i][j] = S::sum(acc[i][j]);
    }
  }
}

template <class T, int MA, int MB>
void dot_block(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, int64_t j0,
               const Epilogue<T>& e, T* c, int64_t ldc) {
  T sums[MA][MB];
  dot_tile<T, MA, MB>(k, a, lda, b, ldb, sums);
  for (int i = 0; i < MA; ++i) {
    for (int j = 0; j < MB; ++j) finish(sums[i][j], j0 + j, e, c + i * ldc + j);
  }
}

template <class T>
void dots(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb,
          const Epilogue<T>& e, T* c, int64_t ldc) {
  int64_t i = 0;
  for (; i + 2 <= m; i += 2) {
    const T* ai = a + i * lda;
    T* ci = c + i * ldc;
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) dot_block<T, 2, 4>(k, ai, lda, b + j * ldb, ldb, j, e, ci + j, ldc);
    for (; j < n; ++j) dot_block<T, 2, 1>(k, ai, lda, b + j * ldb, ldb, j, e, ci + j, ldc);
  }
  if (i == m) return;
  const T* ai = a + i * lda;
  T* ci = c + i * ldc;
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) dot_block<T, 1, 4>(k, ai, lda, b + j * ldb, ldb, j, e, ci + j, ldc);
  for (; j < n; ++j) dot_block<T, 1, 1>(k, ai, lda, b + j * ldb, ldb, j, e, ci + j, ldc);
}

template <class T>
void transpose(int64_t n, int64_t k, const T* b, int64_t ldb, T* dst, int64_t ldd) {
  using S = TurnVec<T>;
  constexpr int64_t W = S::width;
  for (int64_t j = 0; j < ldd; j += W) {
    const int64_t rows = n - j < W ? n - j : W;
    const int64_t cols = ldd - j < W ? ldd - j : W;
    const auto col_mask = S::mask(cols);
    for (int64_t p = 0; p < k; p += W) {
      const int64_t length = k - p < W ? k - p : W;
      const auto mask = S::mask(length);
      typename S::V r[W];
      if (rows == W && length == W) {
        TANDEM_UNROLL for (int i = 0; i < W; ++i) r[i] = S::load(b + (j + i) * ldb + p);
      } else {
        TANDEM_UNROLL for (int i = 0; i < W; ++i) {
          r[i] = i < rows ? S::load(b + (j + i) * ldb + p, mask) : S::zero();
        }
      }
      S::turn(r);
      T* d = dst + p * ldd + j;
      if (cols == W) {
        TANDEM_UNROLL for (int i = 0; i < W; ++i) {
          if (i < length) S::store(d + i * ldd, r[i]);
        }
      } else {
        TANDEM_UNROLL for (int i = 0; i < W; ++i) {
          if (i < length) S::store(d + i * ldd, r[i], col_mask);
        }
      }
    }
  }
}

template <class T>
void gemv_rows(int64_t rows, int64_t k, const T* a, int64_t lda, const T* x, T alpha, T beta, T* y,
               int64_t inc) {
  const Epilogue<T> e{alpha, beta, nullptr};
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4) {
    T sums[1][4];
    dot_tile<T, 1, 4>(k, x, 0, a + i * lda, lda, sums);
    for (int r = 0; r < 4; ++r) finish(sums[0][r], 0, e, y + (i + r) * inc);
  }
  for (; i < rows; ++i) {
    T sums[1][1];
    dot_tile<T, 1, 1>(k, x, 0, a + i * lda, lda, sums);
    finish(sums[0][0], 0, e, y + i * inc);
  }
}

// R rows of B at a time, so that the running sums are read and written once for R of them.
template <class T, int R>
void add_rows(int64_t n, const T* b, int64_t ldb, const T* x, int64_t inc, bool first, T* sum) {
  using S = Vec<T>;
  constexpr int W = S::width;
  typename S::V xv[R];
  TANDEM_UNROLL for (int r = 0; r < R; ++r) xv[r] = S::set1(x[r * inc]);
  int64_t j = 0;
  for (; j + W <= n; j += W) {
    auto acc = first ? S::zero() : S::load(sum + j);
    TANDEM_UNROLL for (int r = 0; r < R; ++r) acc = S::fma(xv[r], S::load(b + r * ldb + j), acc);
    S::store(sum + j, acc);
  }
  if (j < n) {
    const auto mask = S::mask(n - j);
    auto acc = first ? S::zero() : S::load(sum + j, mask);
    TANDEM_UNROLL for (int r = 0; r < R; ++r) {
      acc = S::fma(xv[r], S::load(b + r * ldb + j, mask), acc);
    }
    S::store(sum + j, acc, mask);
  }
}

template <class T>
void gemv_columns(int64_t n, int64_t k, const T* b, int64_t ldb, const T* x, int64_t inc, T* sum) {
  if (k == 0) {
    for (int64_t j = 0; j < n; ++j) sum[j] = T{0};
    return;
  }
  int64_t p = 0;
  for (; p + 8 <= k; p += 8) add_rows<T, 8>(n, b + p * ldb, ldb, x + p * inc, inc, p == 0, sum);
  for (; p < k; ++p) add_rows<T, 1>(n, b + p * ldb, ldb, x + p * inc, inc, p == 0, sum);
}

template <class T>
constexpr GemmKernels<T> table() {
  constexpr int W = Vec<T>::width;
  return {mr_of<T>(),   2 * W,          W, direct<T>, dots<T>, packed<T>, transpose<T>,
          gemv_rows<T>, gemv_columns<T>};
}
