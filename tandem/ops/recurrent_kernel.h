#pragma once
// The loops over time that all recurrent cells share, on row-major memory. A cell says what one
// step does with its gates.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/op/math.h"
#include "tandem/op/simd.h"

namespace tandem::detail {

template <class T>
struct TanhCell {
  static constexpr int gates = 1, kept = 1;
  static constexpr bool has_c = false, split = false;
  TANDEM_FN static void forward(int64_t n, const T* gx, const T* gh, const T* h, const T*, T* keep,
                                T* out, T*) {
    (void)h;
    for (int64_t i = 0; i < n; ++i) keep[i] = out[i] = math::tanh(gx[i] + gh[i]);
  }
  TANDEM_FN static void backward(int64_t n, const T* dh, T*, const T* keep, const T*, const T*,
                                 const T*, T* dgx, T*, T* dh_prev) {
    for (int64_t i = 0; i < n; ++i) {
      dgx[i] = dh[i] * (T(1) - keep[i] * keep[i]);
      dh_prev[i] = T(0);
    }
  }
};

template <class T>
struct ReluCell : TanhCell<T> {
  TANDEM_FN static void forward(int64_t n, const T* gx, const T* gh, const T*, const T*, T* keep,
                                T* out, T*) {
    for (int64_t i = 0; i < n; ++i) {
      const T v = gx[i] + gh[i];
      keep[i] = out[i] = v < T(0) ? T(0) : v;
    }
  }
  TANDEM_FN static void backward(int64_t n, const T* dh, T*, const T* keep, const T*, const T*,
                                 const T*, T* dgx, T*, T* dh_prev) {
    for (int64_t i = 0; i < n; ++i) {
      dgx[i] = keep[i] <= T(0) ? T(0) : dh[i];  // as relu_grad: NaN lets it through
      dh_prev[i] = T(0);
    }
  }
};

template <class T>
struct LstmCell {
  static constexpr int gates = 4, kept = 4;
  static constexpr bool has_c = true, split = false;
  TANDEM_FN static void forward(int64_t n, const T* gx, const T* gh, const T*, const T* c, T* keep,
                                T* out, T* c_out) {
    for (int64_t j = 0; j < n; ++j) {
      const T i = math::sigmoid(gx[j] + gh[j]), f = math::sigmoid(gx[n + j] + gh[n + j]);
      const T g = math::tanh(gx[2 * n + j] + gh[2 * n + j]);
      const T o = math::sigmoid(gx[3 * n + j] + gh[3 * n + j]);
      keep[j] = i;
      keep[n + j] = f;
      keep[2 * n + j] = g;
      keep[3 * n + j] = o;
      const T next = f * c[j] + i * g;
      c_out[j] = next;
      out[j] = o * math::tanh(next);
    }
  }
  // dc is both the gradient that arrives from the next step and the one for the step before.
  TANDEM_FN static void backward(int64_t n, const T* dh, T* dc, const T* keep, const T*,
                                 const T* c_prev, const T* c, T* dgx, T*, T* dh_prev) {
    for (int64_t j = 0; j < n; ++j) {
      const T i = keep[j], f = keep[n + j], g = keep[2 * n + j], o = keep[3 * n + j];
      const T tc = math::tanh(c[j]);
      const T d = dc[j] + dh[j] * o * (T(1) - tc * tc);
      dgx[j] = d * g * i * (T(1) - i);
      dgx[n + j] = d * c_prev[j] * f * (T(1) - f);
      dgx[2 * n + j] = d * i * (T(1) - g * g);
      dgx[3 * n + j] = dh[j] * tc * o * (T(1) - o);
      dc[j] = d * f;
      dh_prev[j] = T(0);
    }
  }
};

// Kept a step: r, z, n and W_hn h + b_hn.
template <class T>
struct GruCell {
  static constexpr int gates = 3, kept = 4;
  static constexpr bool has_c = false, split = true;
  TANDEM_FN static void forward(int64_t n, const T* gx, const T* gh, const T* h, const T*, T* keep,
                                T* out, T*) {
    for (int64_t j = 0; j < n; ++j) {
      const T r = math::sigmoid(gx[j] + gh[j]), z = math::sigmoid(gx[n + j] + gh[n + j]);
      const T hn = gh[2 * n + j];
      const T m = math::tanh(gx[2 * n + j] + r * hn);
      keep[j] = r;
      keep[n + j] = z;
      keep[2 * n + j] = m;
      keep[3 * n + j] = hn;
      out[j] = (T(1) - z) * m + z * h[j];
    }
  }
  TANDEM_FN static void backward(int64_t n, const T* dh, T*, const T* keep, const T* h_prev,
                                 const T*, const T*, T* dgx, T* dgh, T* dh_prev) {
    for (int64_t j = 0; j < n; ++j) {
      const T r = keep[j], z = keep[n + j], m = keep[2 * n + j], hn = keep[3 * n + j];
      const T dm = dh[j] * (T(1) - z) * (T(1) - m * m);
      const T dz = dh[j] * (h_prev[j] - m) * z * (T(1) - z);
      const T dr = dm * hn * r * (T(1) - r);
      dgx[j] = dgh[j] = dr;
      dgx[n + j] = dgh[n + j] = dz;
      dgx[2 * n + j] = dm;
      dgh[2 * n + j] = dm * r;
      dh_prev[j] = dh[j] * z;
    }
  }
};

/// Sizes of one layer: steps, batch, input, hidden.
struct RecurrentSize {
  int64_t steps, batch, input, hidden;
};

template <class T>
void fill_rows(T* y, const T* row, int64_t rows, int64_t n) {
  if (n == 0) return;
  for (int64_t r = 0; r < rows; ++r) {
    if (row) std::memcpy(y + r * n, row, size_t(n) * sizeof(T));
    else std::memset(y + r * n, 0, size_t(n) * sizeof(T));
  }
}

/// y, keep and cells hold every step; cells may be null for cells without c.
template <class Cell, class T>
void recurrent_forward(const RecurrentSize& s, bool reverse, const T* x, const T* h0, const T* c0,
                       const T* w_ih, const T* w_hh, const T* b_ih, const T* b_hh, T* y, T* keep,
                       T* cells) {
  const int64_t nh = s.batch * s.hidden, width = Cell::gates * s.hidden;
  std::vector<T> gx(size_t(s.steps * s.batch * width)), gh(size_t(s.batch * width));
  fill_rows(gx.data(), b_ih, s.steps * s.batch, width);
  cpu::gemm(false, true, s.steps * s.batch, width, s.input, T(1), x, s.input, w_ih, s.input, T(1),
            gx.data(), width);
  const T *h = h0, *c = c0;
  for (int64_t step = 0; step < s.steps; ++step) {
    const int64_t t = reverse ? s.steps - 1 - step : step;
    fill_rows(gh.data(), b_hh, s.batch, width);
    cpu::gemm(false, true, s.batch, width, s.hidden, T(1), h, s.hidden, w_hh, s.hidden, T(1),
              gh.data(), width);
    T* out = y + t * nh;
    T* c_out = Cell::has_c ? cells + t * nh : nullptr;
    const int64_t grain = 4096 / std::clamp<int64_t>(s.hidden, 1, 4096);
    cpu::parallel_for(s.batch, grain, [&](int64_t lo, int64_t hi) {
      simd([&] {
        for (int64_t b = lo; b < hi; ++b)
          Cell::forward(s.hidden, gx.data() + (t * s.batch + b) * width, gh.data() + b * width,
                        h + b * s.hidden, Cell::has_c ? c + b * s.hidden : nullptr,
                        keep + (t * s.batch + b) * Cell::kept * s.hidden, out + b * s.hidden,
                        Cell::has_c ? c_out + b * s.hidden : nullptr);
      });
    });
    h = out;
    c = c_out;
  }
}

template <class T>
struct RecurrentGradients {
  T *dx, *dh0, *dc0, *dw_ih, *dw_hh, *db_ih, *db_hh;  ///< the biases' may be null
};

/// dy, dh, dc may be null: no gradient arrives there.
template <class Cell, class T>
void recurrent_backward(const RecurrentSize& s, bool reverse, const T* x, const T* h0, const T* c0,
                        const T* w_ih, const T* w_hh, const T* y, const T* keep, const T* cells,
                        const T* dy, const T* dh_n, const T* dc_n, const RecurrentGradients<T>& g) {
  const int64_t nh = s.batch * s.hidden, width = Cell::gates * s.hidden;
  const int64_t rows = s.steps * s.batch;
  std::vector<T> dgx(size_t(rows * width)), dgh(size_t(Cell::split ? rows * width : 0));
  std::vector<T> dh(size_t(nh), T(0)), dc(size_t(Cell::has_c ? nh : 0), T(0));
  if (dh_n) dh.assign(dh_n, dh_n + nh);
  if (Cell::has_c && dc_n) dc.assign(dc_n, dc_n + nh);
  std::fill_n(g.dw_hh, width * s.hidden, T(0));
  T* dgh_all = Cell::split ? dgh.data() : dgx.data();
  for (int64_t step = s.steps - 1; step >= 0; --step) {
    const int64_t t = reverse ? s.steps - 1 - step : step, before = reverse ? t + 1 : t - 1;
    const T* h_prev = step == 0 ? h0 : y + before * nh;
    const T* c_prev = !Cell::has_c ? nullptr : step == 0 ? c0 : cells + before * nh;
    if (dy)
      for (int64_t i = 0; i < nh; ++i) dh[size_t(i)] += dy[t * nh + i];
    std::vector<T> dh_prev(static_cast<size_t>(nh));
    simd([&] {
      for (int64_t b = 0; b < s.batch; ++b) {
        const int64_t row = t * s.batch + b, at = b * s.hidden;
        Cell::backward(s.hidden, dh.data() + at, Cell::has_c ? dc.data() + at : nullptr,
                       keep + row * Cell::kept * s.hidden, h_prev + at,
                       Cell::has_c ? c_prev + at : nullptr,
                       Cell::has_c ? cells + t * nh + at : nullptr, dgx.data() + row * width,
                       dgh_all + row * width, dh_prev.data() + at);
      }
    });
    const T* d = dgh_all + t * s.batch * width;
    cpu::gemm(false, false, s.batch, s.hidden, width, T(1), d, width, w_hh, s.hidden, T(1),
              dh_prev.data(), s.hidden);
    cpu::gemm(true, false, width, s.hidden, s.batch, T(1), d, width, h_prev, s.hidden, T(1),
              g.dw_hh, s.hidden);
    dh.swap(dh_prev);
  }
  std::copy(dh.begin(), dh.end(), g.dh0);
  if (Cell::has_c) std::copy(dc.begin(), dc.end(), g.dc0);
  cpu::gemm(false, false, rows, s.input, width, T(1), dgx.data(), width, w_ih, s.input, T(0), g.dx,
            s.input);
  cpu::gemm(true, false, width, s.input, rows, T(1), dgx.data(), width, x, s.input, T(0), g.dw_ih,
            s.input);
  auto column_sums = [&](const T* d, T* out) {
    if (!out) return;
    std::fill_n(out, width, T(0));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < width; ++i) out[i] += d[r * width + i];
  };
  column_sums(dgx.data(), g.db_ih);
  column_sums(dgh_all, g.db_hh);
}

}  // namespace tandem::detail
