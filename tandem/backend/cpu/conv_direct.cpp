#include "tandem/backend/cpu/conv_direct.h"

#include <algorithm>
#include <vector>

#include "tandem/backend/cpu/conv_kernels.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu::direct {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Part `i` of `n` items cut into `parts` nearly equal ranges.
int64_t cut(int64_t n, int64_t parts, int64_t i) { return n * i / parts; }

// A zero-padded image whose rows are sorted by column modulo the stride, so that the columns that
// one window position meets lie side by side.
struct Phases {
  int64_t channels, h, w, pad_h, pad_w, stride, phase, row, height;
  bool as_is;  // no padding, no stride: the image itself

  Phases(const ConvShape& s, int64_t planes)
      : channels(planes),
        h(s.h),
        w(s.w),
        pad_h(s.pad_h),
        pad_w(s.pad_w),
        stride(s.stride_w),
        phase(ceil_div(s.w + 2 * s.pad_w, stride)),
        row(phase * stride),
        height(s.h + 2 * s.pad_h),
        as_is(s.pad_h == 0 && s.pad_w == 0 && stride == 1) {}

  // Where padded column `at` of a row lies.
  int64_t column(int64_t at) const { return at % stride * phase + at / stride; }

  int64_t size(int64_t rows) const { return channels * rows * row; }

  // Padded rows [first, first + rows) of every channel.
  void fill(const float* x, int64_t first, int64_t rows, float* to) const {
    std::fill_n(to, size(rows), 0.0f);
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t ih = first + r - pad_h;
        if (ih < 0 || ih >= h) continue;
        const float* from = x + (c * h + ih) * w;
        float* line = to + (c * rows + r) * row;
        if (stride == 1) {
          std::copy_n(from, w, line + pad_w);
          continue;
        }
        for (int64_t start = 0; start < std::min(stride, w); ++start) {
          float* side = line + column(start + pad_w);
          for (int64_t i = start, q = 0; i < w; i += stride, ++q) side[q] = from[i];
        }
      }
    }
  }

  // Offsets of the window positions in an image of `rows` padded rows, channel by channel.
  std::vector<int64_t> offsets(const ConvShape& s, int64_t rows) const {
    std::vector<int64_t> off;
    off.reserve(static_cast<size_t>(channels * s.kh * s.kw));
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t i = 0; i < s.kh; ++i) {
        for (int64_t j = 0; j < s.kw; ++j) {
          off.push_back((c * rows + i * s.dil_h) * row + column(j * s.dil_w));
        }
      }
    }
    return off;
  }
};

// An image, or a band of its output rows, as one piece of work.
struct Bands {
  int64_t out_h, count, rows_in;

  Bands(const ConvShape& s, int64_t images, int64_t wanted)
      : out_h(s.out_h()), count(std::clamp<int64_t>(ceil_div(wanted, images), 1, out_h)) {
    const int64_t most = ceil_div(out_h, count);
    rows_in = count == 1 ? s.h + 2 * s.pad_h : (most - 1) * s.stride_h + (s.kh - 1) * s.dil_h + 1;
  }

  int64_t begin(int64_t band) const { return cut(out_h, count, band); }
};

// w[oc][taps] as blocks of register tiles, each [taps][rows].
std::vector<float> packed_weights(const ConvShape& s, const float* w, int64_t taps,
                                  int64_t blocks) {
  std::vector<float> packed(static_cast<size_t>(s.oc * taps));
  float* to = packed.data();
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = cut(s.oc, blocks, b), end = cut(s.oc, blocks, b + 1);
    for (int64_t t = 0; t < taps; ++t) {
      for (int64_t o = begin; o < end; ++o) *to++ = w[o * taps + t];
    }
  }
  return packed;
}

// w[oc][c][kh][kw] as w[c][oc][kh][kw] with both window axes turned around.
std::vector<float> flipped(const ConvShape& s, const float* w) {
  const int64_t window = s.kh * s.kw;
  std::vector<float> out(static_cast<size_t>(s.oc * s.c * window));
  for (int64_t o = 0; o < s.oc; ++o) {
    for (int64_t c = 0; c < s.c; ++c) {
      const float* from = w + (o * s.c + c) * window;
      float* to = out.data() + (c * s.oc + o) * window;
      for (int64_t i = 0; i < window; ++i) to[window - 1 - i] = from[i];
    }
  }
  return out;
}

// Weight gradients of one band of one image, added to dw[oc][taps].
void add_weights(const ConvShape& s, const float* phases, int64_t step, const int64_t* off,
                 int64_t taps, const float* dy, int64_t first, int64_t rows, float* dw) {
  const ConvKernels& kernels = conv_kernels();
  const int64_t out_w = s.out_w();
  const int64_t area = s.out_h() * out_w;
  const int64_t outer = ceil_div(s.oc, kernels.dy_rows);
  const int64_t inner = ceil_div(taps, kernels.taps);
  for (int64_t a = 0; a < outer; ++a) {
    const int64_t o = cut(s.oc, outer, a);
    for (int64_t b = 0; b < inner; ++b) {
      const int64_t t = cut(taps, inner, b);
      kernels.weights(cut(s.oc, outer, a + 1) - o, cut(taps, inner, b + 1) - t, rows, out_w,
                      dy + o * area + first * out_w, area, out_w, phases, off + t, step,
                      dw + o * taps + t, taps);
    }
  }
}

}  // namespace

bool few_inputs(const ConvShape& s) {
  const int64_t window = s.kh * s.kw;
  return s.groups == 1 && s.c <= 16 && s.c * window <= 512 && (s.c < 16 || window > 9);
}

bool has_transpose(const ConvShape& s) {
  return s.stride_h == 1 && s.stride_w == 1 && s.groups == 1 && s.pad_h <= s.dil_h * (s.kh - 1) &&
         s.pad_w <= s.dil_w * (s.kw - 1);
}

ConvShape transposed(const ConvShape& s) {
  ConvShape t = s;
  t.c = s.oc;
  t.oc = s.c;
  t.h = s.out_h();
  t.w = s.out_w();
  t.pad_h = s.dil_h * (s.kh - 1) - s.pad_h;
  t.pad_w = s.dil_w * (s.kw - 1) - s.pad_w;
  return t;
}

void forward(const ConvShape& s, const float* x, const float* w, const float* bias, float* y,
             const RowsDone& done) {
  const ConvKernels& kernels = conv_kernels();
  const int64_t taps = s.c * s.kh * s.kw;
  const int64_t out_w = s.out_w(), out_h = s.out_h();
  const int64_t blocks = ceil_div(s.oc, kernels.channels);
  const std::vector<float> packed = packed_weights(s, w, taps, blocks);
  const Phases phases(s, s.c);
  const Bands bands(s, s.n, 4 * usable_threads());
  const int64_t held = phases.as_is ? s.h : bands.rows_in;
  const std::vector<int64_t> off = phases.offsets(s, held);
  const int64_t image_macs = s.oc * taps * out_h * out_w / bands.count;
  const int64_t grain = 50000 / std::max<int64_t>(1, image_macs);
  parallel_for(s.n * bands.count, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    const Scratch block(phases.as_is ? 64 : static_cast<size_t>(phases.size(held)) * sizeof(float));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t image = task / bands.count, band = task % bands.count;
      const int64_t first = bands.begin(band), last = bands.begin(band + 1);
      const float* from = x + image * s.c * s.h * s.w;
      if (phases.as_is) {
        from += first * s.stride_h * s.w;
      } else {
        phases.fill(from, first * s.stride_h, held, block.as<float>());
        from = block.as<float>();
      }
      for (int64_t r = first; r < last; ++r) {
        const float* line = from + (r - first) * s.stride_h * phases.row;
        for (int64_t b = 0; b < blocks; ++b) {
          const int64_t o = cut(s.oc, blocks, b);
          kernels.row(cut(s.oc, blocks, b + 1) - o, out_w, taps, packed.data() + o * taps, line,
                      off.data(), bias == nullptr ? nullptr : bias + o,
                      y + ((image * s.oc + o) * out_h + r) * out_w, out_h * out_w);
        }
      }
      for (int64_t o = image * s.oc; o < (image + 1) * s.oc; ++o)
        done(o * out_h + first, o * out_h + last);
    }
  });
}

void backward_data(const ConvShape& s, const float* dy, const float* w, float* dx,
                   const RowsDone& done) {
  forward(transposed(s), dy, flipped(s, w).data(), nullptr, dx, done);
}

void backward_weights(const ConvShape& s, const float* x, const float* dy, float* dw) {
  // The cut into partial sums depends on the shape alone: the same bits for any thread count.
  constexpr int64_t most_parts = 16;
  const int64_t taps = s.c * s.kh * s.kw;
  const int64_t size = s.oc * taps;
  const Phases phases(s, s.c);
  const Bands bands(s, s.n, most_parts);
  const int64_t held = phases.as_is ? s.h : bands.rows_in;
  const std::vector<int64_t> off = phases.offsets(s, held);
  const int64_t tasks = s.n * bands.count;
  const int64_t parts = std::min(most_parts, tasks);
  const Scratch sums(static_cast<size_t>(parts * size) * sizeof(float));
  const int64_t part_macs = size * s.n * s.out_h() * s.out_w() / parts;
  parallel_for(
      parts, std::max<int64_t>(1, 50000 / std::max<int64_t>(1, part_macs)),
      [&](int64_t begin, int64_t end) {
        const Scratch block(phases.as_is ? 64
                                         : static_cast<size_t>(phases.size(held)) * sizeof(float));
        for (int64_t part = begin; part < end; ++part) {
          float* sum = sums.as<float>() + part * size;
          std::fill_n(sum, size, 0.0f);
          for (int64_t task = cut(tasks, parts, part); task < cut(tasks, parts, part + 1); ++task) {
            const int64_t image = task / bands.count, band = task % bands.count;
            const int64_t first = bands.begin(band), last = bands.begin(band + 1);
            const float* from = x + image * s.c * s.h * s.w;
            if (phases.as_is) {
              from += first * s.stride_h * s.w;
            } else {
              phases.fill(from, first * s.stride_h, held, block.as<float>());
              from = block.as<float>();
            }
            add_weights(s, from, s.stride_h * phases.row, off.data(), taps,
                        dy + image * s.oc * s.out_h() * s.out_w(), first, last - first, sum);
          }
        }
      });
  std::copy_n(sums.as<float>(), size, dw);
  for (int64_t part = 1; part < parts; ++part) {
    const float* sum = sums.as<float>() + part * size;
    for (int64_t i = 0; i < size; ++i) dw[i] += sum[i];
  }
}

void depthwise_forward(const ConvShape& s, const float* x, const float* w, const float* bias,
                       float* y) {
  const ConvKernels& kernels = conv_kernels();
  const int64_t taps = s.kh * s.kw, out_w = s.out_w(), out_h = s.out_h();
  const Phases phases(s, 1);
  const std::vector<int64_t> off = phases.offsets(s, phases.height);
  const int64_t grain = 30000 / std::max<int64_t>(1, taps * out_h * out_w);
  parallel_for(s.n * s.c, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    const Scratch block(static_cast<size_t>(phases.size(phases.height)) * sizeof(float));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = i % s.c;
      const float* from = x + i * s.h * s.w;
      if (!phases.as_is) {
        phases.fill(from, 0, phases.height, block.as<float>());
        from = block.as<float>();
      }
      kernels.plane(out_h, out_w, taps, w + c * taps, from, off.data(), s.stride_h * phases.row,
                    bias == nullptr ? 0.0f : bias[c], y + i * out_h * out_w, out_w);
    }
  });
}

// dx splits by (row, column) modulo the strides into planes, each of which is a stride-1
// correlation of dy with the window positions that reach it.
void depthwise_backward_data(const ConvShape& s, const float* dy, const float* w, float* dx) {
  const ConvKernels& kernels = conv_kernels();
  struct Part {
    int64_t row, col, rows, cols, taps;  // first plane row and column, and how many
    int64_t dx_at;                       // where the first element goes in dx
    size_t first;                        // in off and at
  };
  const int64_t out_w = s.out_w(), out_h = s.out_h(), window = s.kh * s.kw;
  const int64_t top = (s.kh - 1) * s.dil_h / s.stride_h, left = (s.kw - 1) * s.dil_w / s.stride_w;
  const int64_t row = left + std::max(out_w, (s.w - 1 + s.pad_w) / s.stride_w + 1);
  const int64_t height = top + std::max(out_h, (s.h - 1 + s.pad_h) / s.stride_h + 1);
  std::vector<Part> parts;
  std::vector<int64_t> off, at;
  for (int64_t a = 0; a < s.stride_h; ++a) {
    for (int64_t b = 0; b < s.stride_w; ++b) {
      Part p{};
      p.row = s.pad_h > a ? ceil_div(s.pad_h - a, s.stride_h) : 0;
      p.col = s.pad_w > b ? ceil_div(s.pad_w - b, s.stride_w) : 0;
      const int64_t ih = p.row * s.stride_h + a - s.pad_h, iw = p.col * s.stride_w + b - s.pad_w;
      if (ih >= s.h || iw >= s.w) continue;
      p.rows = ceil_div(s.h - ih, s.stride_h);
      p.cols = ceil_div(s.w - iw, s.stride_w);
      p.dx_at = ih * s.w + iw;
      p.first = off.size();
      for (int64_t i = 0; i < window; ++i) {
        const int64_t y = i / s.kw * s.dil_h, x = i % s.kw * s.dil_w;
        if (y % s.stride_h != a || x % s.stride_w != b) continue;
        off.push_back((p.row + top - y / s.stride_h) * row + p.col + left - x / s.stride_w);
        at.push_back(i);
      }
      p.taps = static_cast<int64_t>(off.size() - p.first);
      parts.push_back(p);
    }
  }
  const int64_t plane = height * row;
  const int64_t grain = 30000 / std::max<int64_t>(1, window * out_h * out_w);
  parallel_for(s.n * s.c, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    const Scratch block(static_cast<size_t>(2 * plane + window) * sizeof(float));
    float* padded = block.as<float>();
    float* one = padded + plane;
    float* weights = one + plane;
    std::fill_n(padded, plane, 0.0f);
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t r = 0; r < out_h; ++r) {
        std::copy_n(dy + (i * out_h + r) * out_w, out_w, padded + (r + top) * row + left);
      }
      for (const Part& p : parts) {
        for (int64_t t = 0; t < p.taps; ++t) {
          weights[t] = w[i % s.c * window + at[p.first + static_cast<size_t>(t)]];
        }
        float* to = dx + i * s.h * s.w + p.dx_at;
        const bool dense = s.stride_w == 1;
        const int64_t ld = dense ? s.stride_h * s.w : p.cols;
        kernels.plane(p.rows, p.cols, p.taps, weights, padded, off.data() + p.first, row, 0.0f,
                      dense ? to : one, ld);
        if (dense) continue;
        for (int64_t r = 0; r < p.rows; ++r) {
          float* line = to + r * s.stride_h * s.w;
          for (int64_t q = 0; q < p.cols; ++q) line[q * s.stride_w] = one[r * p.cols + q];
        }
      }
    }
  });
}

void depthwise_backward_weights(const ConvShape& s, const float* x, const float* dy, float* dw) {
  ConvShape one = s;
  one.c = one.oc = one.groups = 1;
  const int64_t taps = s.kh * s.kw, area = s.out_h() * s.out_w();
  const Phases phases(s, 1);
  const std::vector<int64_t> off = phases.offsets(s, phases.height);
  const int64_t grain = 30000 / std::max<int64_t>(1, s.n * taps * area);
  parallel_for(s.c, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    const Scratch block(static_cast<size_t>(phases.size(phases.height)) * sizeof(float));
    for (int64_t c = begin; c < end; ++c) {
      std::fill_n(dw + c * taps, taps, 0.0f);
      for (int64_t image = 0; image < s.n; ++image) {
        const int64_t i = image * s.c + c;
        const float* from = x + i * s.h * s.w;
        if (!phases.as_is) {
          phases.fill(from, 0, phases.height, block.as<float>());
          from = block.as<float>();
        }
        add_weights(one, from, s.stride_h * phases.row, off.data(), taps, dy + i * area, 0,
                    s.out_h(), dw + c * taps);
      }
    }
  });
}

}  // namespace tandem::cpu::direct
