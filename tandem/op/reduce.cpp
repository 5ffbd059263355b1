#include <algorithm>
#include <cstring>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/iterate.h"
#include "tandem/op/kernel.h"

namespace tandem::detail {
namespace {

constexpr int64_t parallel_grain = 32768;  // elements
constexpr int64_t tile = 1024;

/// The input as a nest of kept axes and a nest of reduced ones, each merged where possible.
struct Split {
  Shape kept, kept_strides, reduced, reduced_strides;
};

void add_axis(Shape& sizes, Shape& strides, int64_t size, int64_t stride) {
  if (size == 1) return;
  if (!sizes.empty() && strides.back() == stride * size) {
    sizes[sizes.size() - 1] *= size;
    strides[sizes.size() - 1] = stride;
  } else {
    sizes.push_back(size);
    strides.push_back(stride);
  }
}

int64_t offset_of(int64_t index, const Shape& sizes, const Shape& strides) {
  int64_t at = 0;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    at += index % sizes[i] * strides[i];
    index /= sizes[i];
  }
  return at;
}

}  // namespace

void reduce_launch(const ReduceKernel& k, const void* op, const Shape& axes, Inputs in,
                   Tensor& out) {
  const Tensor& x = in[0];
  const DType d = x.dtype();
  const DType compute = d == f64 ? f64 : is_floating(d) ? f32 : is_floating(out.dtype()) ? f32 : i64;
  const auto& fn = compute == f64 ? k.f64 : compute == f32 ? k.f32 : k.i64;
  const int64_t item = itemsize(compute), x_item = itemsize(d);
  const GatherFn gather = gather_fn(d, compute);

  bool is_reduced[max_dims] = {};
  for (int64_t a : axes) is_reduced[a < 0 ? a + x.dim() : a] = true;
  if (axes.empty()) std::fill(is_reduced, is_reduced + x.dim(), true);
  Split s;
  int64_t count = 1;
  for (int i = 0; i < x.dim(); ++i) {
    if (is_reduced[i]) {
      count *= x.shape()[i];
      add_axis(s.reduced, s.reduced_strides, x.shape()[i], x.strides()[i]);
    } else {
      add_axis(s.kept, s.kept_strides, x.shape()[i], x.strides()[i]);
    }
  }
  const int64_t kept = s.kept.numel();
  if (kept == 0) return;
  // Row-major folds of the kept elements; the result is as large and contiguous.
  Tensor folds = empty({kept}, compute);
  char* acc = static_cast<char*>(folds.raw_data());
  fn.ends(op, acc, kept, count, true);
  const char* data = x.impl()->data;

  const bool columns = !s.kept.empty() && s.kept_strides.back() == 1 && s.kept.back() >= 8 &&
                       (s.reduced.empty() || s.reduced_strides.back() != 1);
  if (count > 0 && columns) {
    // Neighbours in memory are different results: add whole rows into a row of folds.
    const int64_t width = s.kept.back(), outer = kept / width, rows = s.reduced.numel();
    const int64_t blocks = (width + tile - 1) / tile;
    const int64_t grain = std::max<int64_t>(1, parallel_grain / (std::min(width, tile) * rows));
    cpu::parallel_for(outer * blocks, grain, [&](int64_t begin, int64_t end) {
      alignas(64) char buffer[tile * 8];
      for (int64_t b = begin; b < end; ++b) {
        const int64_t first = b / blocks * width + b % blocks * tile;
        const int64_t m = std::min(tile, width - b % blocks * tile);
        const char* base = data + offset_of(first, s.kept, s.kept_strides) * x_item;
        auto add_rows = [&](int64_t from, int64_t to, char* into) {
          for (int64_t r = from; r < to; ++r) {
            const char* p = base + offset_of(r, s.reduced, s.reduced_strides) * x_item;
            if (d != compute) {
              gather(p, 1, buffer, m);
              p = buffer;
            }
            fn.columns(op, p, m, into);
          }
        };
        // Many rows are folded in pieces: the rounding error grows with a piece, not with all.
        const int64_t piece = rows <= 1024 ? rows : std::max<int64_t>(1024, rows / 1024);
        if (piece == rows) {
          add_rows(0, rows, acc + first * item);
          continue;
        }
        alignas(64) char part[tile * 8];
        for (int64_t r = 0; r < rows; r += piece) {
          fn.ends(op, part, m, m, true);
          add_rows(r, std::min(rows, r + piece), part);
          for (int64_t j = 0; j < m; ++j)
            fn.merge(op, part + j * item, 1, acc + (first + j) * item);
        }
      }
    });
  } else if (count > 0) {
    const int64_t run = s.reduced.empty() ? 1 : s.reduced.back();
    const int64_t step = s.reduced.empty() ? 1 : s.reduced_strides.back();
    auto fold = [&](int64_t result, int64_t first, int64_t last, char* to) {
      alignas(64) char buffer[tile * 8];
      const char* base = data + offset_of(result, s.kept, s.kept_strides) * x_item;
      for (int64_t i = first; i < last;) {  // elements first..last of the reduction
        const int64_t r = i / run, c = i % run;
        const char* p =
            base + (offset_of(r * run, s.reduced, s.reduced_strides) + c * step) * x_item;
        const bool direct = step == 1 && d == compute;
        const int64_t m = std::min({run - c, last - i, direct ? run : tile});
        if (!direct) {
          gather(p, step, buffer, m);
          p = buffer;
        }
        fn.row(op, p, m, to);
        i += m;
      }
    };
    if (kept == 1 && count > parallel_grain) {
      // One result: fold pieces of a fixed size, so that the value does not depend on the threads.
      const int64_t piece = parallel_grain, pieces = (count + piece - 1) / piece;
      Tensor parts = empty({pieces}, compute);
      char* part = static_cast<char*>(parts.raw_data());
      fn.ends(op, part, pieces, count, true);
      cpu::parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          fold(0, i * piece, std::min(count, (i + 1) * piece), part + i * item);
      });
      fn.merge(op, part, pieces, acc);
    } else {
      cpu::parallel_for(kept, std::max<int64_t>(1, parallel_grain / count),
                        [&](int64_t begin, int64_t end) {
                          for (int64_t i = begin; i < end; ++i) fold(i, 0, count, acc + i * item);
                        });
    }
  }
  fn.ends(op, acc, kept, count, false);
  scatter_fn(compute, out.dtype())(acc, out.impl()->data, 1, kept);
}

}  // namespace tandem::detail
