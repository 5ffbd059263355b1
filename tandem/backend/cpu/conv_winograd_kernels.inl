// Included once per instruction set, inside its namespace and target region. `S` is the vector of
// that set, `Turn` the one that transposes.

using V = S::V;

TANDEM_ALWAYS_INLINE V times(float a, V b) { return S::mul(S::set1(a), b); }
TANDEM_ALWAYS_INLINE V plus_times(V a, float b, V c) { return S::fma(S::set1(b), c, a); }

struct SourceStep {
  static constexpr int in = 6, out = 6;
  TANDEM_ALWAYS_INLINE static void run(const V* d, V* t) {
    const V even = plus_times(d[4], -4.0f, d[2]), odd = plus_times(d[3], -4.0f, d[1]);
    const V far = d[4] - d[2], near = d[3] - d[1];
    t[0] = plus_times(plus_times(d[4], -5.0f, d[2]), 4.0f, d[0]);
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = plus_times(far, 2.0f, near);
    t[4] = plus_times(far, -2.0f, near);
    t[5] = plus_times(plus_times(d[5], -5.0f, d[3]), 4.0f, d[1]);
  }
};

struct GradientStep {
  static constexpr int in = 4, out = 6;
  TANDEM_ALWAYS_INLINE static void run(const V* d, V* t) {
    const V even = d[0] + d[2], odd = d[1] + d[3];
    const V even2 = plus_times(d[0], 4.0f, d[2]), odd2 = plus_times(times(2.0f, d[1]), 8.0f, d[3]);
    t[0] = d[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = d[3];
  }
};

struct ResultStep {
  static constexpr int in = 6, out = 4;
  TANDEM_ALWAYS_INLINE static void run(const V* d, V* t) {
    const V sum = d[1] + d[2], diff = d[1] - d[2], sum2 = d[3] + d[4], diff2 = d[3] - d[4];
    t[0] = d[0] + sum + sum2;
    t[1] = plus_times(diff, 2.0f, diff2);
    t[2] = plus_times(sum, 4.0f, sum2);
    t[3] = plus_times(diff, 8.0f, diff2) + d[5];
  }
};

struct FilterStep {
  static constexpr int in = 3, out = 6;
  TANDEM_ALWAYS_INLINE static void run(const V* d, V* t) {
    const V outer = times(-1.0f / 6, d[0] + d[2]), middle = times(1.0f / 6, d[1]);
    const V outer2 = plus_times(times(1.0f / 24, d[0]), 1.0f / 6, d[2]);
    const V middle2 = times(1.0f / 12, d[1]);
    t[0] = times(0.25f, d[0]);
    t[1] = outer - middle;
    t[2] = outer + middle;
    t[3] = outer2 + middle2;
    t[4] = outer2 - middle2;
    t[5] = d[2];
  }
};

struct FilterGradientStep {
  static constexpr int in = 6, out = 3;
  TANDEM_ALWAYS_INLINE static void run(const V* d, V* t) {
    const V sum = times(-1.0f / 6, d[1] + d[2]), sum2 = d[3] + d[4];
    t[0] = plus_times(plus_times(sum, 0.25f, d[0]), 1.0f / 24, sum2);
    t[1] = plus_times(times(1.0f / 6, d[2] - d[1]), 1.0f / 12, d[3] - d[4]);
    t[2] = plus_times(sum, 1.0f / 6, sum2) + d[5];
  }
};

// Step applied to the columns and then to the rows of a square: get(i, j) gives the element of
// row i and column j, put(i, j, v) takes that of the result.
template <class Step, class Get, class Put>
TANDEM_ALWAYS_INLINE void both_ways(Get get, Put put) {
  V half[Step::out][Step::in];
  TANDEM_UNROLL for (int j = 0; j < Step::in; ++j) {
    V d[Step::in], t[Step::out];
    TANDEM_UNROLL for (int i = 0; i < Step::in; ++i) d[i] = get(i, j);
    Step::run(d, t);
    TANDEM_UNROLL for (int i = 0; i < Step::out; ++i) half[i][j] = t[i];
  }
  TANDEM_UNROLL for (int i = 0; i < Step::out; ++i) {
    V t[Step::out];
    Step::run(half[i], t);
    TANDEM_UNROLL for (int j = 0; j < Step::out; ++j) put(i, j, t[j]);
  }
}

template <class Step>
TANDEM_ALWAYS_INLINE void tiles_in(int64_t tiles, const float* pixels, int64_t row, float* to,
                                   int64_t ld, int64_t pitch) {
  for (int64_t t = 0; t < tiles; ++t, pixels += 4 * S::width, to += ld) {
    both_ways<Step>([=](int i, int j) { return S::load(pixels + i * row + j * S::width); },
                    [=](int i, int j, V v) { S::store(to + (i * 6 + j) * pitch, v); });
  }
}

void source(int64_t tiles, const float* pixels, int64_t row, float* to, int64_t ld, int64_t pitch) {
  tiles_in<SourceStep>(tiles, pixels, row, to, ld, pitch);
}

void gradient(int64_t tiles, const float* pixels, int64_t row, float* to, int64_t ld,
              int64_t pitch) {
  tiles_in<GradientStep>(tiles, pixels, row, to, ld, pitch);
}

void result(int64_t tiles, const float* from, int64_t ld, int64_t pitch, const float* bias,
            float* pixels, int64_t rows, int64_t cols) {
  const V start = bias == nullptr ? S::zero() : S::load(bias);
  const int64_t row = cols * S::width;
  for (int64_t t = 0; t < tiles; ++t, from += ld, pixels += 4 * S::width) {
    const int64_t wide = cols - 4 * t;
    const auto get = [=](int i, int j) { return S::load(from + (i * 6 + j) * pitch); };
    if (rows >= 4 && wide >= 4) {
      both_ways<ResultStep>(
          get, [=](int i, int j, V v) { S::store(pixels + i * row + j * S::width, v + start); });
    } else {
      both_ways<ResultStep>(get, [=](int i, int j, V v) {
        if (i < rows && j < wide) S::store(pixels + i * row + j * S::width, v + start);
      });
    }
  }
}

void filter(int64_t count, const float* g, int64_t ld, bool turned, float* to, int64_t pitch) {
  for (int64_t c = 0; c < count; c += S::width) {
    const float* p = g + c;
    float* q = to + c;
    both_ways<FilterStep>(
        [=](int i, int j) { return S::load(p + (turned ? 8 - 3 * i - j : 3 * i + j) * ld); },
        [=](int i, int j, V v) { S::store(q + (i * 6 + j) * pitch, v); });
  }
}

void filter_gradient(const float* from, int64_t pitch, int64_t ld, float* g) {
  for (int64_t c = 0; c < ld; c += S::width) {
    const float* p = from + c;
    float* q = g + c;
    both_ways<FilterGradientStep>([=](int i, int j) { return S::load(p + (i * 6 + j) * pitch); },
                                  [=](int i, int j, V v) { S::store(q + (3 * i + j) * ld, v); });
  }
}

// A square of `length` pixels by `here` channels, either way. Whole ones, nearly all, need no
// masks.
TANDEM_ALWAYS_INLINE void turn_in(int64_t here, int64_t length, const float* planes, int64_t plane,
                                  float* pixels, int64_t ld) {
  constexpr int W = Turn::width;
  typename Turn::V r[W];
  if (here == W && length == W) {
    TANDEM_UNROLL for (int k = 0; k < W; ++k) r[k] = Turn::load(planes + k * plane);
    Turn::turn(r);
    TANDEM_UNROLL for (int k = 0; k < W; ++k) Turn::store(pixels + k * ld, r[k]);
    return;
  }
  const auto mask = Turn::mask(length);
  TANDEM_UNROLL for (int k = 0; k < W; ++k) {
    r[k] = k < here ? Turn::load(planes + k * plane, mask) : Turn::zero();
  }
  Turn::turn(r);
  TANDEM_UNROLL for (int k = 0; k < W; ++k) {
    if (k < length) Turn::store(pixels + k * ld, r[k]);
  }
}

TANDEM_ALWAYS_INLINE void turn_out(int64_t here, int64_t length, const float* pixels, int64_t ld,
                                   float* planes, int64_t plane) {
  constexpr int W = Turn::width;
  typename Turn::V r[W];
  if (here == W && length == W) {
    TANDEM_UNROLL for (int k = 0; k < W; ++k) r[k] = Turn::load(pixels + k * ld);
    Turn::turn(r);
    TANDEM_UNROLL for (int k = 0; k < W; ++k) Turn::store(planes + k * plane, r[k]);
    return;
  }
  const auto mask = Turn::mask(length);
  TANDEM_UNROLL for (int k = 0; k < W; ++k) {
    r[k] = k < length ? Turn::load(pixels + k * ld) : Turn::zero();
  }
  Turn::turn(r);
  TANDEM_UNROLL for (int k = 0; k < W; ++k) {
    if (k < here) Turn::store(planes + k * plane, r[k], mask);
  }
}

void from_planes(int64_t rows, int64_t cols, int64_t channels, const float* planes, int64_t plane,
                 float* pixels, int64_t row) {
  constexpr int64_t W = Turn::width;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t q = 0; q < cols; q += W) {
      const int64_t length = cols - q < W ? cols - q : W;
      for (int64_t c = 0; c < S::width; c += W) {
        const int64_t here = channels - c < W ? channels - c : W;
        turn_in(here, length, planes + c * plane + r * cols + q, plane,
                pixels + r * row + q * S::width + c, S::width);
      }
    }
  }
}

void to_planes(int64_t count, int64_t channels, const float* pixels, float* planes, int64_t plane) {
  constexpr int64_t W = Turn::width;
  for (int64_t c = 0; c < channels; c += W) {
    const int64_t here = channels - c < W ? channels - c : W;
    for (int64_t i = 0; i < count; i += W) {
      const int64_t length = count - i < W ? count - i : W;
      turn_out(here, length, pixels + i * S::width + c, S::width, planes + c * plane + i, plane);
    }
  }
}

constexpr WinogradKernels table{S::width, source,          gradient,    result,
                                filter,   filter_gradient, from_planes, to_planes};
