// Included once per instruction set, inside its namespace and target region. `S` is the vector of
// that set; max_channels, max_dy_rows and max_taps are the register tiles.

template <int M, int N>
void row_tile(int64_t taps, const float* w, const float* x, const int64_t* off, int64_t cols,
              const float* bias, float* y, int64_t ldy) {
  constexpr int W = S::width;
  const auto mask = S::mask(cols - (N - 1) * W);
  S::V acc[M][N];
  TANDEM_UNROLL for (int i = 0; i < M; ++i) {
    const S::V start = bias == nullptr ? S::zero() : S::set1(bias[i]);
    TANDEM_UNROLL for (int v = 0; v < N; ++v) acc[i][v] = start;
  }
  for (int64_t t = 0; t < taps; ++t) {
    const float* from = x + off[t];
    S::V xv[N];
    TANDEM_UNROLL for (int v = 0; v < N; ++v) {
      xv[v] = v + 1 < N ? S::load(from + v * W) : S::load(from + v * W, mask);
    }
    TANDEM_UNROLL for (int i = 0; i < M; ++i) {
      const S::V wv = S::set1(w[t * M + i]);
      TANDEM_UNROLL for (int v = 0; v < N; ++v) acc[i][v] = S::fma(wv, xv[v], acc[i][v]);
    }
  }
  TANDEM_UNROLL for (int i = 0; i < M; ++i) {
    TANDEM_UNROLL for (int v = 0; v < N; ++v) {
      float* to = y + i * ldy + v * W;
      v + 1 < N ? S::store(to, acc[i][v]) : S::store(to, acc[i][v], mask);
    }
  }
}

template <int M>
void row_of(int64_t cols, int64_t taps, const float* w, const float* x, const int64_t* off,
            const float* bias, float* y, int64_t ldy) {
  constexpr int W = S::width;
  int64_t q = 0;
  for (; cols - q > W; q += 2 * W) {
    const int64_t here = cols - q < 2 * W ? cols - q : 2 * W;
    row_tile<M, 2>(taps, w, x + q, off, here, bias, y + q, ldy);
  }
  if (q < cols) row_tile<M, 1>(taps, w, x + q, off, cols - q, bias, y + q, ldy);
}

void row(int64_t rows, int64_t cols, int64_t taps, const float* w, const float* x,
         const int64_t* off, const float* bias, float* y, int64_t ldy) {
  switch (rows) {
#define TANDEM_ROWS(M)                                                               \
  case M:                                                                            \
    if constexpr (M <= max_channels) row_of<M>(cols, taps, w, x, off, bias, y, ldy); \
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

// M output rows by N vectors: independent sums hide the latency of the multipliers.
template <int M, int N>
void plane_tile(int64_t taps, const float* w, const float* x, const int64_t* off, int64_t step,
                int64_t cols, float bias, float* y, int64_t ldy) {
  constexpr int W = S::width;
  const auto mask = S::mask(cols - (N - 1) * W);
  S::V acc[M][N];
  TANDEM_UNROLL for (int i = 0; i < M; ++i) {
    TANDEM_UNROLL for (int v = 0; v < N; ++v) acc[i][v] = S::set1(bias);
  }
  for (int64_t t = 0; t < taps; ++t) {
    const S::V wv = S::set1(w[t]);
    const float* from = x + off[t];
    TANDEM_UNROLL for (int i = 0; i < M; ++i) {
      TANDEM_UNROLL for (int v = 0; v < N; ++v) {
        const float* p = from + i * step + v * W;
        acc[i][v] = S::fma(wv, v + 1 < N ? S::load(p) : S::load(p, mask), acc[i][v]);
      }
    }
  }
  TANDEM_UNROLL for (int i = 0; i < M; ++i) {
    TANDEM_UNROLL for (int v = 0; v < N; ++v) {
      float* to = y + i * ldy + v * W;
      v + 1 < N ? S::store(to, acc[i][v]) : S::store(to, acc[i][v], mask);
    }
  }
}

template <int M>
void plane_rows(int64_t cols, int64_t taps, const float* w, const float* x, const int64_t* off,
                int64_t step, float bias, float* y, int64_t ldy) {
  constexpr int W = S::width;
  int64_t q = 0;
  for (; cols - q > W; q += 2 * W) {
    const int64_t here = cols - q < 2 * W ? cols - q : 2 * W;
    plane_tile<M, 2>(taps, w, x + q, off, step, here, bias, y + q, ldy);
  }
  if (q < cols) plane_tile<M, 1>(taps, w, x + q, off, step, cols - q, bias, y + q, ldy);
}

void plane(int64_t rows, int64_t cols, int64_t taps, const float* w, const float* x,
           const int64_t* off, int64_t step, float bias, float* y, int64_t ldy) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    plane_rows<4>(cols, taps, w, x + r * step, off, step, bias, y + r * ldy, ldy);
  }
  x += r * step;
  y += r * ldy;
  if (rows - r == 3) plane_rows<3>(cols, taps, w, x, off, step, bias, y, ldy);
  if (rows - r == 2) plane_rows<2>(cols, taps, w, x, off, step, bias, y, ldy);
  if (rows - r == 1) plane_rows<1>(cols, taps, w, x, off, step, bias, y, ldy);
}

template <int M, int N>
void weight_tile(int64_t rows, int64_t cols, const float* dy, int64_t ldy, int64_t dy_step,
                 const float* x, const int64_t* off, int64_t step, float* dw, int64_t ldw) {
  constexpr int W = S::width;
  S::V acc[M][N];
  TANDEM_UNROLL for (int i = 0; i < M; ++i) {
    TANDEM_UNROLL for (int t = 0; t < N; ++t) acc[i][t] = S::zero();
  }
  const int64_t whole = cols / W * W;
  const auto mask = S::mask(cols - whole);
  for (int64_t r = 0; r < rows; ++r) {
    int64_t q = 0;
    for (; q < whole; q += W) {
      S::V dv[M];
      TANDEM_UNROLL for (int i = 0; i < M; ++i) dv[i] = S::load(dy + i * ldy + q);
      TANDEM_UNROLL for (int t = 0; t < N; ++t) {
        const S::V xv = S::load(x + off[t] + q);
        TANDEM_UNROLL for (int i = 0; i < M; ++i) acc[i][t] = S::fma(dv[i], xv, acc[i][t]);
      }
    }
    if (q < cols) {
      S::V dv[M];
      TANDEM_UNROLL for (int i = 0; i < M; ++i) dv[i] = S::load(dy + i * ldy + q, mask);
      TANDEM_UNROLL for (int t = 0; t < N; ++t) {
        const S::V xv = S::load(x + off[t] + q, mask);
        TANDEM_UNROLL for (int i = 0; i < M; ++i) acc[i][t] = S::fma(dv[i], xv, acc[i][t]);
      }
    }
    dy += dy_step;
    x += step;
  }
  TANDEM_UNROLL for (int i = 0; i < M; ++i) {
    TANDEM_UNROLL for (int t = 0; t < N; ++t) dw[i * ldw + t] += S::sum(acc[i][t]);
  }
}

template <int M>
void weights_of(int64_t taps, int64_t rows, int64_t cols, const float* dy, int64_t ldy,
                int64_t dy_step, const float* x, const int64_t* off, int64_t step, float* dw,
                int64_t ldw) {
  switch (taps) {
#define TANDEM_TAPS(N)                                                        \
  case N:                                                                     \
    if constexpr (M <= max_dy_rows && N <= max_taps) {                        \
      weight_tile<M, N>(rows, cols, dy, ldy, dy_step, x, off, step, dw, ldw); \
    }                                                                         \
    break;
    TANDEM_TAPS(1)
    TANDEM_TAPS(2)
    TANDEM_TAPS(3)
    TANDEM_TAPS(4)
    TANDEM_TAPS(5)
    TANDEM_TAPS(6)
#undef TANDEM_TAPS
    default: break;
  }
}

void weights(int64_t channels, int64_t taps, int64_t rows, int64_t cols, const float* dy,
             int64_t ldy, int64_t dy_step, const float* x, const int64_t* off, int64_t step,
             float* dw, int64_t ldw) {
  switch (channels) {
    case 1: return weights_of<1>(taps, rows, cols, dy, ldy, dy_step, x, off, step, dw, ldw);
    case 2: return weights_of<2>(taps, rows, cols, dy, ldy, dy_step, x, off, step, dw, ldw);
    case 3: return weights_of<3>(taps, rows, cols, dy, ldy, dy_step, x, off, step, dw, ldw);
    default: return weights_of<4>(taps, rows, cols, dy, ldy, dy_step, x, off, step, dw, ldw);
  }
}

constexpr ConvKernels table{max_channels, max_dy_rows, max_taps, row, plane, weights};
