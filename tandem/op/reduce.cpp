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
// Long folds are cut into pieces whose size depends on the shape alone: the value does not depend
// on the number of threads, and sums of many elements keep their digits.
constexpr int64_t piece_size = 65536;  // elements
constexpr int64_t stretch = 4096;      // elements of a piece that one vector loop adds up
constexpr int64_t few = 32;            // elements of a fold that is not worth a row of its own

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

struct Reduction {
  const ReduceKernel::Of& fn;
  const void* op;
  const char* data;
  Split s;
  int64_t x_item, item;
  GatherFn gather;
  bool convert;  ///< elements are not of the kernel's type
  int64_t kept, count;
  char* acc;  ///< row-major folds of the kept elements

  const char* at(int64_t kept_index, int64_t reduced_index) const {
    return data + (offset_of(kept_index, s.kept, s.kept_strides) +
                   offset_of(reduced_index, s.reduced, s.reduced_strides)) *
                      x_item;
  }

  /// Folds for `pieces` parts of each of `n` results, all at the identity.
  Tensor parts(int64_t n, DType compute) const {
    Tensor t = empty({n}, compute);
    fn.ends(op, t.raw_data(), n, count, true);
    return t;
  }

  /// Short rows behind each other: [count, width] without gaps.
  bool can_be_narrow() const {
    return !convert && s.kept.back() * 4 <= tile && s.kept_strides.back() == 1 &&
           s.reduced.size() == 1 && s.reduced_strides[0] == s.kept.back();
  }

  void columns(DType compute) const;
  void narrow_columns(const char* base, int64_t rows, int64_t width, char* to) const;
  void short_rows() const;
  void long_rows(DType compute) const;
};

/// Neighbours in memory are different results: whole rows are added into a row of folds.
void Reduction::columns(DType compute) const {
  const int64_t width = s.kept.back(), outer = kept / width, rows = count;
  const int64_t blocks = (width + tile - 1) / tile, block = std::min(width, tile);
  const int64_t piece = std::max<int64_t>(64, piece_size / block);
  const int64_t pieces = (rows + piece - 1) / piece;
  const bool narrow = can_be_narrow();
  const Tensor part = pieces > 1 ? parts(outer * pieces * width, compute) : Tensor();
  char* to = pieces > 1 ? static_cast<char*>(part.raw_data()) : acc;
  const int64_t grain = std::max<int64_t>(1, parallel_grain / (block * std::min(rows, piece)));
  cpu::parallel_for(outer * blocks * pieces, grain, [&](int64_t begin, int64_t end) {
    alignas(64) char buffer[tile * 8];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t p = task % pieces, b = task / pieces % blocks, o = task / pieces / blocks;
      const int64_t m = std::min(tile, width - b * tile), last = std::min(rows, (p + 1) * piece);
      char* folds = to + ((o * pieces + p) * width + b * tile) * item;
      const int64_t first = o * width + b * tile;
      if (narrow) {
        narrow_columns(at(first, p * piece), last - p * piece, width, folds);
        continue;
      }
      for (int64_t r = p * piece; r < last; ++r) {
        const char* x = at(first, r);
        if (convert) {
          gather(x, 1, buffer, m);
          x = buffer;
        }
        fn.columns(op, x, m, folds);
      }
    }
  });
  for (int64_t o = 0; pieces > 1 && o < outer; ++o)
    for (int64_t p = 0; p < pieces; ++p)
      for (int64_t i = 0; i < width; ++i)
        fn.merge(op, to + ((o * pieces + p) * width + i) * item, 1, acc + (o * width + i) * item);
}

/// Rows too short for a vector loop are taken several at a time.
void Reduction::narrow_columns(const char* base, int64_t rows, int64_t width, char* to) const {
  alignas(64) char folds[tile * 8];
  const int64_t together = std::min(rows, tile / width);
  fn.ends(op, folds, together * width, count, true);
  for (int64_t r = 0; r < rows; r += together)
    fn.columns(op, base + r * width * x_item, std::min(together, rows - r) * width, folds);
  for (int64_t k = 0; k < together; ++k)
    for (int64_t i = 0; i < width; ++i)
      fn.merge(op, folds + (k * width + i) * item, 1, to + i * item);
}

/// A few elements a result: element after element of many results at once.
void Reduction::short_rows() const {
  const int64_t width = s.kept.empty() ? 1 : int64_t(s.kept.back());
  const int64_t step = s.kept.empty() ? 1 : int64_t(s.kept_strides.back());
  constexpr int64_t some = tile / 4;  // results: their elements stay in the L1 cache meanwhile
  const int64_t blocks = (width + some - 1) / some;
  const int64_t grain = std::max<int64_t>(1, parallel_grain / (std::min(width, some) * count));
  cpu::parallel_for(kept / width * blocks, grain, [&](int64_t begin, int64_t end) {
    alignas(64) char buffer[some * 8];
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b / blocks * width + b % blocks * some;
      const int64_t m = std::min(some, width - b % blocks * some);
      for (int64_t c = 0; c < count; ++c) {
        gather(at(first, c), step, buffer, m);
        fn.columns(op, buffer, m, acc + first * item);
      }
    }
  });
}

void Reduction::long_rows(DType compute) const {
  const int64_t run = s.reduced.empty() ? 1 : int64_t(s.reduced.back());
  const int64_t step = s.reduced.empty() ? 1 : int64_t(s.reduced_strides.back());
  const bool direct = step == 1 && !convert;
  auto fold = [&](int64_t result, int64_t first, int64_t last, char* to) {
    alignas(64) char buffer[tile * 8];
    const char* base = data + offset_of(result, s.kept, s.kept_strides) * x_item;
    for (int64_t i = first; i < last;) {  // elements first..last of the reduction
      const int64_t r = i / run, c = i % run;
      const char* p = base + (offset_of(r * run, s.reduced, s.reduced_strides) + c * step) * x_item;
      const int64_t m = std::min({run - c, last - i, direct ? stretch : tile});
      if (!direct) {
        gather(p, step, buffer, m);
        p = buffer;
      }
      fn.row(op, p, m, to);
      i += m;
    }
  };
  const int64_t pieces = (count + piece_size - 1) / piece_size;
  if (pieces == 1) {
    cpu::parallel_for(kept, std::max<int64_t>(1, parallel_grain / count),
                      [&](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i) fold(i, 0, count, acc + i * item);
                      });
    return;
  }
  const Tensor part = parts(kept * pieces, compute);
  char* to = static_cast<char*>(part.raw_data());
  cpu::parallel_for(kept * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = t % pieces * piece_size;
      fold(t / pieces, first, std::min(count, first + piece_size), to + t * item);
    }
  });
  for (int64_t i = 0; i < kept; ++i) fn.merge(op, to + i * pieces * item, pieces, acc + i * item);
}

}  // namespace

void reduce_launch(const ReduceKernel& k, const void* op, const Shape& axes, Inputs in,
                   Tensor& out) {
  const Tensor& x = in[0];
  const DType d = x.dtype();
  const DType compute = d == f64                   ? f64
                        : is_floating(d)           ? f32
                        : is_floating(out.dtype()) ? f32
                        : d == u64                 ? u64
                                                   : i64;
  const auto& fn = compute == f64 ? k.f64 : compute == f32 ? k.f32 : compute == u64 ? k.u64 : k.i64;

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
  // The folds lie as the result does: they are it, when the types agree.
  const bool in_place = out.dtype() == compute && out.is_contiguous();
  const Tensor folds = in_place ? out : empty({kept}, compute);
  char* acc = static_cast<char*>(folds.raw_data());
  fn.ends(op, acc, kept, count, true);
  const Reduction r{.fn = fn,
                    .op = op,
                    .data = x.impl()->data,
                    .s = s,
                    .x_item = itemsize(d),
                    .item = itemsize(compute),
                    .gather = gather_fn(d, compute),
                    .convert = d != compute,
                    .kept = kept,
                    .count = count,
                    .acc = acc};
  const bool wide = !s.kept.empty() && s.kept.back() >= 8;
  if (count > 0) {
    if (!s.kept.empty() && count > few && r.can_be_narrow()) r.columns(compute);
    else if (wide && s.kept_strides.back() == 1 &&
             (s.reduced.empty() || s.reduced_strides.back() != 1))
      r.columns(compute);
    else if (wide && count <= few) r.short_rows();
    else r.long_rows(compute);
  }
  fn.ends(op, acc, kept, count, false);
  if (!in_place) scatter_fn(compute, out.dtype())(acc, out.impl()->data, 1, kept);
}

}  // namespace tandem::detail
