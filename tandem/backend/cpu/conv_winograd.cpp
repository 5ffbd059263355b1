#include "tandem/backend/cpu/conv_winograd.h"

#include <algorithm>

#include "tandem/backend/cpu/conv_direct.h"
#include "tandem/backend/cpu/conv_winograd_kernels.h"
#include "tandem/backend/cpu/gemm_kernels.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu::winograd {
namespace {

constexpr int64_t tile_side = 4;           // outputs of a tile along one axis
constexpr int64_t tile_coefficients = 36;  // of a tile
// Coefficients of both sides that are held at once: beside those of the filters, which must stay in
// the cache too; or with sums that are only passed through, the fewer times the longer the blocks.
constexpr int64_t block_bytes = 384 << 10, long_block_bytes = 768 << 10;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Distance of two coefficients: never a multiple of 4 KiB, which would map all 36 of them to the
// same lines of the first-level cache.
int64_t pitch_of(int64_t floats) { return floats % 1024 == 0 ? floats + 16 : floats; }

// Rows of tiles, image after image, and the blocks of them that are worked on at a time.
struct Plan {
  int64_t c, oc;            // channels, filled up to whole vectors
  int64_t down, across;     // tiles of an image
  int64_t rows, per_block;  // rows of tiles of all images; of a block
  int64_t blocks;
  int64_t pitch_c, pitch_oc;  // of a block's coefficients

  explicit Plan(const ConvShape& s, int64_t bytes = block_bytes) {
    const int64_t width = winograd_kernels().width;
    c = ceil_div(s.c, width) * width;
    oc = ceil_div(s.oc, width) * width;
    down = ceil_div(s.out_h(), tile_side);
    across = ceil_div(s.out_w(), tile_side);
    rows = s.n * down;
    const int64_t row_bytes = across * tile_coefficients * (c + oc) * int64_t{sizeof(float)};
    per_block = std::clamp<int64_t>(bytes / row_bytes, 1, std::max<int64_t>(1, 64 / across));
    per_block = std::min(per_block, rows);
    blocks = ceil_div(rows, per_block);
    pitch_c = pitch_of(per_block * across * c);
    pitch_oc = pitch_of(per_block * across * oc);
  }

  // All rows as one block; and tiles never a multiple of 1 KiB apart, see pitch_of().
  static Plan whole(const ConvShape& s) {
    Plan p(s);
    p.per_block = p.rows;
    p.blocks = 1;
    const int64_t width = winograd_kernels().width;
    if (p.c % 256 == 0) p.c += width;
    if (p.oc % 256 == 0) p.oc += width;
    p.pitch_c = pitch_of(p.rows * p.across * p.c);
    p.pitch_oc = pitch_of(p.rows * p.across * p.oc);
    return p;
  }

  int64_t coefficients() const { return tile_coefficients * (pitch_c + pitch_oc); }
  int64_t segment() const { return std::min(per_block, down); }  // most rows within one image
  int64_t first(int64_t block) const { return block * per_block; }
  int64_t count(int64_t block) const { return std::min(per_block, rows - first(block)); }
};

size_t bytes(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

// Rows of a few planes of an image as channels-last pixels with zeros around them. One vector of
// channels at a time: so many pixels fit into the first-level cache.
class Window {
 public:
  Window(int64_t h, int64_t w, int64_t pad_w, int64_t height, int64_t width)
      : vector_(winograd_kernels().width),
        h_(h),
        w_(w),
        pad_w_(pad_w),
        width_(width),
        memory_(bytes(height * row())) {
    std::fill_n(pixels(), height * row(), 0.0f);
  }

  float* pixels() const { return memory_.as<float>(); }
  int64_t row() const { return width_ * vector_; }

  // `rows` rows from `top`, some of which may lie outside, of at most a vector of `planes`.
  void fill(const float* planes, int64_t channels, int64_t top, int64_t rows) {
    const int64_t begin = std::clamp<int64_t>(-top, 0, rows);
    const int64_t end = std::clamp<int64_t>(h_ - top, begin, rows);
    std::fill_n(pixels(), begin * row(), 0.0f);
    winograd_kernels().from_planes(end - begin, w_, channels, planes + (top + begin) * w_, h_ * w_,
                                   pixels() + begin * row() + pad_w_ * vector_, row());
    std::fill_n(pixels() + end * row(), (rows - end) * row(), 0.0f);
  }

 private:
  int64_t vector_, h_, w_, pad_w_, width_;
  Scratch memory_;
};

// The coefficients of filters lie as [36][columns / nr][sums][nr], nr the columns of a register
// tile: a product reads them one after the other.
struct Filters {
  int64_t sums, columns, nr;

  Filters(int64_t k, int64_t n) : sums(k), columns(n), nr(gemm_kernels<float>().nr) {}

  int64_t size() const { return tile_coefficients * sums * columns; }
  int64_t width(int64_t column) const { return std::min(nr, columns - column); }

  // From filters whose 9 elements lie together, filter (k, n) at w + k * step_k + n * step_n.
  void fill(const float* w, int64_t step_k, int64_t count, int64_t step_n, bool turned,
            float* to) const {
    const auto transpose = gemm_kernels<float>().transpose;
    const auto filter = winograd_kernels().filter;
    parallel_for(sums, std::max<int64_t>(1, 4096 / columns), [&](int64_t begin, int64_t end) {
      const Scratch nine(bytes(9 * columns));
      float* g = nine.as<float>();
      for (int64_t k = begin; k < end; ++k) {
        transpose(count, 9, w + k * step_k, step_n, g, columns);
        for (int64_t n = 0; n < columns; n += nr) {
          filter(width(n), g + n, columns, turned, to + n * sums + k * width(n), sums * columns);
        }
      }
    });
  }

  // c[rows, columns] of coefficient i = a[rows, sums] times the filters.
  void multiply(int64_t i, const float* filters, int64_t rows, const float* a, int64_t lda,
                float* c) const {
    const float* b = filters + i * sums * columns;
    for (int64_t n = 0; n < columns; n += nr) {
      gemm_kernels<float>().direct(rows, width(n), sums, a, lda, 1, b + n * sums, width(n), {},
                                   c + n, columns);
    }
  }
};

// A block's rows of tiles within one image.
struct Segment {
  int64_t image, row, rows;  // first row of tiles, and how many
  int64_t at;                // rows of the block before it
};

template <class F>
void for_each_segment(const Plan& plan, int64_t block, F&& body) {
  const int64_t first = plan.first(block), count = plan.count(block);
  for (int64_t r = 0; r < count;) {
    const int64_t row = (first + r) % plan.down;
    const int64_t rows = std::min(plan.down - row, count - r);
    body(Segment{(first + r) / plan.down, row, rows, r});
    r += rows;
  }
}

// Coefficients of a segment of x.
void transform_source(const ConvShape& s, const Plan& plan, const Segment& g, const float* x,
                      Window& window, float* v) {
  const WinogradKernels& kernels = winograd_kernels();
  for (int64_t c = 0; c < s.c; c += kernels.width) {
    window.fill(x + (g.image * s.c + c) * s.h * s.w, s.c - c, g.row * tile_side - s.pad_h,
                g.rows * tile_side + 2);
    for (int64_t r = 0; r < g.rows; ++r) {
      kernels.source(plan.across, window.pixels() + r * tile_side * window.row(), window.row(),
                     v + (g.at + r) * plan.across * plan.c + c, plan.c, plan.pitch_c);
    }
  }
}

// Coefficients of a segment of dy.
void transform_gradient(const ConvShape& s, const Plan& plan, const Segment& g, const float* dy,
                        Window& window, float* m) {
  const WinogradKernels& kernels = winograd_kernels();
  for (int64_t o = 0; o < s.oc; o += kernels.width) {
    window.fill(dy + (g.image * s.oc + o) * s.out_h() * s.out_w(), s.oc - o, g.row * tile_side,
                g.rows * tile_side);
    for (int64_t r = 0; r < g.rows; ++r) {
      kernels.gradient(plan.across, window.pixels() + r * tile_side * window.row(), window.row(),
                       m + (g.at + r) * plan.across * plan.oc + o, plan.oc, plan.pitch_oc);
    }
  }
}

// A segment of y from its coefficients; `pixels` has room for one vector of channels.
void transform_result(const ConvShape& s, const Plan& plan, const Segment& g, const float* m,
                      const float* bias, float* pixels, float* y, const RowsDone& done) {
  const WinogradKernels& kernels = winograd_kernels();
  const int64_t out_h = s.out_h(), out_w = s.out_w(), top = g.row * tile_side;
  const int64_t rows = std::min(g.rows * tile_side, out_h - top);
  for (int64_t o = 0; o < s.oc; o += kernels.width) {
    for (int64_t r = 0; r < g.rows; ++r) {
      kernels.result(plan.across, m + (g.at + r) * plan.across * plan.oc + o, plan.oc,
                     plan.pitch_oc, bias == nullptr ? nullptr : bias + o,
                     pixels + r * tile_side * out_w * kernels.width,
                     std::min(tile_side, rows - r * tile_side), out_w);
    }
    const int64_t first = (g.image * s.oc + o) * out_h + top;  // row of y
    const int64_t channels = std::min(kernels.width, s.oc - o);
    kernels.to_planes(rows * out_w, channels, pixels, y + first * out_w, out_h * out_w);
    for (int64_t c = 0; c < channels; ++c) done(first + c * out_h, first + c * out_h + rows);
  }
}

Window source_window(const ConvShape& s, const Plan& plan) {
  return {s.h, s.w, s.pad_w, plan.segment() * tile_side + 2, tile_side * plan.across + 2};
}

// y[n, oc, ...] from x[n, c, ...] and the coefficients of the filters.
void convolve(const ConvShape& s, const Plan& plan, const Filters& filters, const float* x,
              const float* coefficients, const float* bias, float* y, const RowsDone& done) {
  parallel_for(plan.blocks, 1, [&](int64_t begin, int64_t end) {
    Window window = source_window(s, plan);
    const Scratch in(bytes(tile_coefficients * plan.pitch_c));
    const Scratch out(bytes(tile_coefficients * plan.pitch_oc));
    const Scratch pixels(bytes(plan.segment() * tile_side * s.out_w() * winograd_kernels().width));
    float *v = in.as<float>(), *m = out.as<float>();
    for (int64_t block = begin; block < end; ++block) {
      for_each_segment(plan, block,
                       [&](const Segment& g) { transform_source(s, plan, g, x, window, v); });
      for (int64_t i = 0; i < tile_coefficients; ++i) {
        filters.multiply(i, coefficients, plan.count(block) * plan.across, v + i * plan.pitch_c,
                         plan.c, m + i * plan.pitch_oc);
      }
      for_each_segment(plan, block, [&](const Segment& g) {
        transform_result(s, plan, g, m, bias, pixels.as<float>(), y, done);
      });
    }
  });
}

// dw of one input channel from its coefficients for `count` filters.
void filter_gradients(const ConvShape& s, const float* sums, int64_t position, int64_t ld,
                      int64_t count, float* nine, float* dw) {
  winograd_kernels().filter_gradient(sums, position, ld, nine);
  for (int64_t o = 0; o < count; ++o) {
    for (int64_t k = 0; k < 9; ++k) dw[o * s.c * 9 + k] = nine[k * ld + o];
  }
}

// Many filters on few tiles: the tiles' coefficients are held, the sums of a few filters made at a
// time and transformed while they lie in the second-level cache.
void weights_of_few_tiles(const ConvShape& s, const float* x, const float* dy, float* dw) {
  constexpr int64_t most_c = 24, most_oc = 256, most_tiles = 128;
  const GemmKernels<float>& gemm = gemm_kernels<float>();
  const Plan plan = Plan::whole(s);
  const int64_t tiles = plan.rows * plan.across;
  const Scratch coefficients(bytes(plan.coefficients()));
  float* const v = coefficients.as<float>();
  float* const m = v + tile_coefficients * plan.pitch_c;
  parallel_for(s.n, 1, [&](int64_t begin, int64_t end) {
    Window source = source_window(s, plan);
    Window gradient(s.out_h(), s.out_w(), 0, plan.segment() * tile_side, tile_side * plan.across);
    for (int64_t image = begin; image < end; ++image) {
      const Segment g{image, 0, plan.down, image * plan.down};
      transform_source(s, plan, g, x, source, v);
      transform_gradient(s, plan, g, dy, gradient, m);
    }
  });
  const int64_t c_blocks = ceil_div(s.c, most_c), oc_blocks = ceil_div(s.oc, most_oc);
  parallel_for(c_blocks * oc_blocks, 1, [&](int64_t begin, int64_t end) {
    const int64_t width = winograd_kernels().width, position = most_c * most_oc;
    const Scratch memory(bytes(tile_coefficients * position + 9 * most_oc));
    float *sums = memory.as<float>(), *nine = sums + tile_coefficients * position;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / c_blocks * most_oc, filters = std::min(most_oc, s.oc - o);
      const int64_t c = task % c_blocks * most_c, channels = std::min(most_c, s.c - c);
      const int64_t ld = ceil_div(filters, width) * width;
      for (int64_t i = 0; i < tile_coefficients; ++i) {
        for (int64_t t = 0; t < tiles; t += most_tiles) {
          gemm.direct(channels, ld, std::min(most_tiles, tiles - t),
                      v + i * plan.pitch_c + t * plan.c + c, 1, plan.c,
                      m + i * plan.pitch_oc + t * plan.oc + o, plan.oc,
                      {1.0f, t == 0 ? 0.0f : 1.0f, nullptr}, sums + i * position, ld);
        }
      }
      for (int64_t k = 0; k < channels; ++k) {
        filter_gradients(s, sums + k * ld, position, ld, filters, nine, dw + (o * s.c + c + k) * 9);
      }
    }
  });
}

}  // namespace

bool applies(const ConvShape& s) {
  return s.kh == 3 && s.kw == 3 && s.stride_h == 1 && s.stride_w == 1 && s.dil_h == 1 &&
         s.dil_w == 1 && s.groups == 1 && s.pad_h <= 2 && s.pad_w <= 2;
}

void forward(const ConvShape& s, const float* x, const float* w, const float* bias, float* y,
             const RowsDone& done) {
  const Plan plan(s);
  const Filters filters(s.c, plan.oc);
  const Scratch coefficients(bytes(filters.size()));
  filters.fill(w, 9, s.oc, 9 * s.c, false, coefficients.as<float>());
  const Scratch whole(bytes(plan.oc));  // the bias, filled up to whole vectors
  if (bias != nullptr) {
    std::fill(std::copy_n(bias, s.oc, whole.as<float>()), whole.as<float>() + plan.oc, 0.0f);
    bias = whole.as<float>();
  }
  convolve(s, plan, filters, x, coefficients.as<float>(), bias, y, done);
}

void backward_data(const ConvShape& s, const float* dy, const float* w, float* dx,
                   const RowsDone& done) {
  const ConvShape t = direct::transposed(s);
  const Plan plan(t);
  const Filters filters(t.c, plan.oc);
  const Scratch coefficients(bytes(filters.size()));
  filters.fill(w, 9 * t.oc, t.oc, 9, true, coefficients.as<float>());
  convolve(t, plan, filters, dy, coefficients.as<float>(), nullptr, dx, done);
}

bool few_tiles(const ConvShape& s) {
  constexpr int64_t most_bytes = 16 << 20;
  return Plan::whole(s).coefficients() * int64_t{sizeof(float)} <= most_bytes;
}

void backward_weights(const ConvShape& s, const float* x, const float* dy, float* dw) {
  if (few_tiles(s)) return weights_of_few_tiles(s, x, dy, dw);
  // The cut into partial sums depends on the shape alone: the same bits for any thread count.
  constexpr int64_t most_parts = 16;
  constexpr int64_t most_bytes = 64 << 20;
  const GemmKernels<float>& gemm = gemm_kernels<float>();
  const Plan plan(s, long_block_bytes);
  const int64_t position = s.c * plan.oc, size = tile_coefficients * position;
  const int64_t affordable = most_bytes / (size * int64_t{sizeof(float)});
  const int64_t parts = std::min(plan.blocks, std::clamp<int64_t>(affordable, 1, most_parts));
  const Scratch partial(bytes(parts * size));
  float* const sums = partial.as<float>();
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    Window source = source_window(s, plan);
    Window gradient(s.out_h(), s.out_w(), 0, plan.segment() * tile_side, tile_side * plan.across);
    const Scratch in(bytes(tile_coefficients * plan.pitch_c));
    const Scratch out(bytes(tile_coefficients * plan.pitch_oc));
    float *v = in.as<float>(), *m = out.as<float>();
    for (int64_t part = begin; part < end; ++part) {
      Epilogue<float> add{1.0f, 0.0f, nullptr};
      const int64_t last = plan.blocks * (part + 1) / parts;
      for (int64_t block = plan.blocks * part / parts; block < last; ++block) {
        for_each_segment(plan, block, [&](const Segment& g) {
          transform_source(s, plan, g, x, source, v);
          transform_gradient(s, plan, g, dy, gradient, m);
        });
        const int64_t tiles = plan.count(block) * plan.across;
        for (int64_t i = 0; i < tile_coefficients; ++i) {
          gemm.direct(s.c, plan.oc, tiles, v + i * plan.pitch_c, 1, plan.c, m + i * plan.pitch_oc,
                      plan.oc, add, sums + part * size + i * position, plan.oc);
        }
        add.beta = 1.0f;
      }
    }
  });
  parallel_for(s.c, std::max<int64_t>(1, 4096 / plan.oc), [&](int64_t begin, int64_t end) {
    const Scratch nine(bytes(9 * plan.oc));
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t i = 0; i < tile_coefficients; ++i) {
        float* total = sums + i * position + c * plan.oc;
        for (int64_t part = 1; part < parts; ++part) {
          const float* more = total + part * size;
          for (int64_t o = 0; o < plan.oc; ++o) total[o] += more[o];
        }
      }
      filter_gradients(s, sums + c * plan.oc, position, plan.oc, s.oc, nine.as<float>(),
                       dw + c * 9);
    }
  });
}

}  // namespace tandem::cpu::winograd
