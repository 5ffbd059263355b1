#include <algorithm>
#include <cstring>

#include "tandem/backend/cpu/gemm_kernels.h"
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
constexpr int64_t panel_width = 64, panel_rows = 32;

// The order of a fold depends on the shape, the axes and the dtypes, never on strides: a view gives
// bit for bit what its copy does. So the order is chosen for the row-major tensor of that shape,
// and what lies in memory otherwise is brought into that order.

/// The input as kept and reduced axes, as they lie in memory: those that step as one are merged.
/// `width` and `run` are the innermost kept and reduced axes of the row-major tensor.
struct Split {
  using Numbers = SmallVector<int64_t, max_dims>;  // known, as in every kernel
  Numbers kept, kept_strides, reduced, reduced_strides;
  int64_t width = 1, run = 1;
  int reduced_groups = 0;
  bool ends_reduced = false, any = false;

  void add(int64_t size, int64_t stride, bool is_reduced) {
    if (size == 1) return;
    Numbers& sizes = is_reduced ? reduced : kept;
    Numbers& strides = is_reduced ? reduced_strides : kept_strides;
    int64_t& logical = is_reduced ? run : width;
    const bool neighbour = any && ends_reduced == is_reduced;
    logical = neighbour ? logical * size : size;
    reduced_groups += is_reduced && !neighbour;
    any = true;
    ends_reduced = is_reduced;
    if (neighbour && strides.back() == stride * size) {
      sizes[sizes.size() - 1] *= size;
      strides[sizes.size() - 1] = stride;
    } else {
      sizes.push_back(size);
      strides.push_back(stride);
    }
  }
};

int64_t offset_of(int64_t index, const Split::Numbers& sizes, const Split::Numbers& strides) {
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
  int64_t kept_step() const { return s.kept.empty() ? 1 : s.kept_strides.back(); }
  int64_t reduced_step() const { return s.reduced.empty() ? 1 : s.reduced_strides.back(); }

  /// Folds for `pieces` parts of each of `n` results, all at the identity.
  Tensor parts(int64_t n, DType compute) const {
    Tensor t = empty({n}, compute);
    fn.ends(op, t.raw_data(), n, count, true);
    return t;
  }

  /// Short rows behind each other: [count, width].
  bool is_narrow() const {
    return !convert && !s.kept.empty() && s.width * 4 <= tile && !s.ends_reduced &&
           s.reduced_groups == 1;
  }
  bool has_columns() const { return count > few && !s.ends_reduced && s.width >= 8; }
  /// False when `columns` must have a row-major copy: the innermost kept axes do not step as one.
  bool reads_memory() const {
    return count <= few || !(is_narrow() || has_columns()) || s.kept.back() == s.width;
  }

  void run(DType compute) const {
    if (count <= few) few_elements();
    else if (is_narrow() || has_columns()) columns(compute);
    else if (!s.kept.empty() && s.kept.back() >= 8 && kept_step() == 1 && reduced_step() != 1)
      lanes(compute);
    else rows(compute);
  }

 private:
  void columns(DType compute) const;
  void narrow_columns(int64_t first, int64_t r, int64_t rows, char* to) const;
  void wide_columns(int64_t first, int64_t m, int64_t r, int64_t last, char* to) const;
  void few_elements() const;
  void rows(DType compute) const;
  void lanes(DType compute) const;

  void turn(int64_t w, int64_t n, const char* x, int64_t ld, char* to, int64_t m) const;
  void load_panel(int64_t first, int64_t m, int64_t r, int64_t n, char* to) const;
  const char* load_row(const char* base, int64_t i, int64_t m, char* buffer) const;
};

/// Elements r..r+n of the folds first..first+m as n packed rows of m.
void Reduction::load_panel(int64_t first, int64_t m, int64_t r, int64_t n, char* to) const {
  const int64_t step = kept_step(), along = reduced_step();
  if (step <= along || s.reduced.empty()) {
    for (int64_t k = 0; k < n; ++k) gather(at(first, r + k), step, to + k * m * item, m);
    return;
  }
  // Neighbours in memory belong to one fold: they are read as they lie, and turned.
  alignas(64) char lines[panel_width * panel_rows * 8];
  for (int64_t k = 0; k < n;) {
    const int64_t some =
        std::min({n - k, s.reduced.back() - (r + k) % s.reduced.back(), panel_rows});
    const char* from = at(first, r + k);
    const bool direct = !convert && along == 1;
    const int64_t part = direct ? m : panel_width;
    for (int64_t j = 0; j < m; j += part) {
      const int64_t w = std::min(part, m - j);
      const char* x = from + j * step * x_item;
      if (!direct)
        for (int64_t i = 0; i < w; ++i)
          gather(x + i * step * x_item, along, lines + i * some * item, some);
      turn(w, some, direct ? x : lines, direct ? step : some, to + (k * m + j) * item, m);
    }
    k += some;
  }
}

/// The w rows of n elements at x, `ld` apart, as n rows of w, m apart.
void Reduction::turn(int64_t w, int64_t n, const char* x, int64_t ld, char* to, int64_t m) const {
  auto move = [&]<class T>() {  // the bits, whatever they mean
    const auto turned = cpu::gemm_kernels<T>().transpose;
    if (w == m) turned(w, n, reinterpret_cast<const T*>(x), ld, reinterpret_cast<T*>(to), m);
    else
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < w; ++j)
          std::memcpy(to + (i * m + j) * item, x + (j * ld + i) * item, sizeof(T));
  };
  if (item == 8) move.template operator()<double>();
  else move.template operator()<float>();
}

/// Elements i..i+m of the fold at `base`, behind each other: in memory, or in the buffer.
const char* Reduction::load_row(const char* base, int64_t i, int64_t m, char* buffer) const {
  const int64_t run = s.reduced.empty() ? 1 : s.reduced.back(), step = reduced_step();
  for (int64_t k = 0; k < m;) {
    const int64_t c = (i + k) % run, some = std::min(m - k, run - c);
    const char* p = base + (offset_of(i + k - c, s.reduced, s.reduced_strides) + c * step) * x_item;
    if (some == m && !convert && step == 1) return p;
    gather(p, step, buffer + k * item, some);
    k += some;
  }
  return buffer;
}

/// Neighbours in the row-major tensor are different results: whole rows are added into a row of
/// folds.
void Reduction::columns(DType compute) const {
  const int64_t width = s.width, outer = kept / width, rows = count;
  const int64_t blocks = (width + tile - 1) / tile, block = std::min(width, tile);
  const int64_t piece = std::max<int64_t>(64, piece_size / block);
  const int64_t pieces = (rows + piece - 1) / piece;
  const bool narrow = is_narrow();
  const Tensor part = pieces > 1 ? parts(outer * pieces * width, compute) : Tensor();
  char* to = pieces > 1 ? static_cast<char*>(part.raw_data()) : acc;
  const int64_t grain = std::max<int64_t>(1, parallel_grain / (block * std::min(rows, piece)));
  cpu::parallel_for(outer * blocks * pieces, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t p = task % pieces, b = task / pieces % blocks, o = task / pieces / blocks;
      const int64_t m = std::min(tile, width - b * tile), last = std::min(rows, (p + 1) * piece);
      char* folds = to + ((o * pieces + p) * width + b * tile) * item;
      const int64_t first = o * width + b * tile;
      if (narrow) narrow_columns(first, p * piece, last - p * piece, folds);
      else wide_columns(first, m, p * piece, last, folds);
    }
  });
  for (int64_t o = 0; pieces > 1 && o < outer; ++o)
    for (int64_t p = 0; p < pieces; ++p)
      fn.merge_columns(op, to + (o * pieces + p) * width * item, width, acc + o * width * item);
}

void Reduction::wide_columns(int64_t first, int64_t m, int64_t r, int64_t last, char* to) const {
  alignas(64) char buffer[panel_rows * panel_width * 8];
  if (kept_step() == 1) {
    for (; r < last; ++r) {
      const char* x = at(first, r);
      if (convert) {
        gather(x, 1, buffer, m);
        x = buffer;
      }
      fn.columns(op, x, m, to);
    }
    return;
  }
  for (int64_t j = 0; j < m; j += panel_width) {
    const int64_t w = std::min(panel_width, m - j);
    for (int64_t k = r; k < last; k += panel_rows) {
      const int64_t n = std::min(panel_rows, last - k);
      load_panel(first + j, w, k, n, buffer);
      for (int64_t i = 0; i < n; ++i) fn.columns(op, buffer + i * w * item, w, to + j * item);
    }
  }
}

/// Rows too short for a vector loop are taken several at a time.
void Reduction::narrow_columns(int64_t first, int64_t r0, int64_t rows, char* to) const {
  alignas(64) char folds[tile * 8], buffer[tile * 8];
  const int64_t width = s.width, together = std::min(rows, tile / width);
  const bool packed = kept_step() == 1 && s.reduced.size() == 1 && reduced_step() == width;
  const char* base = at(first, r0);
  fn.ends(op, folds, together * width, count, true);
  for (int64_t r = 0; r < rows; r += together) {
    const int64_t n = std::min(together, rows - r);
    if (!packed) load_panel(first, width, r0 + r, n, buffer);
    fn.columns(op, packed ? base + r * width * x_item : buffer, n * width, folds);
  }
  for (int64_t k = 0; k < together; ++k) fn.merge_columns(op, folds + k * width * item, width, to);
}

/// A few elements a result are added one after another: of many results at once where these step
/// as one.
void Reduction::few_elements() const {
  const int64_t width = s.kept.empty() ? 1 : s.kept.back();
  if (width < 8) {
    cpu::parallel_for(
        kept, std::max<int64_t>(1, parallel_grain / count), [&](int64_t begin, int64_t end) {
          alignas(64) char buffer[few * 8];
          for (int64_t i = begin; i < end; ++i)
            fn.sequence(op, load_row(at(i, 0), 0, count, buffer), count, acc + i * item);
        });
    return;
  }
  const int64_t step = kept_step();
  const bool direct = step == 1 && !convert;
  // The elements of so many results stay in the L1 cache meanwhile.
  const int64_t some = direct ? tile : tile / 4, blocks = (width + some - 1) / some;
  const int64_t grain = std::max<int64_t>(1, parallel_grain / (std::min(width, some) * count));
  cpu::parallel_for(kept / width * blocks, grain, [&](int64_t begin, int64_t end) {
    alignas(64) char buffer[tile / 4 * 8];
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b / blocks * width + b % blocks * some;
      const int64_t m = std::min(some, width - b % blocks * some);
      for (int64_t c = 0; c < count; ++c) {
        const char* x = at(first, c);
        if (!direct) gather(x, step, buffer, m);
        fn.columns(op, direct ? x : buffer, m, acc + first * item);
      }
    }
  });
}

/// Neighbours in the row-major tensor belong to one result.
void Reduction::rows(DType compute) const {
  const int64_t most = convert ? tile : stretch;
  const bool one_run = s.reduced.size() == 1, direct = !convert && reduced_step() == 1;
  const int64_t step = reduced_step() * x_item;
  auto fold = [&](int64_t result, int64_t first, int64_t last, char* to) {
    const char* base = data + offset_of(result, s.kept, s.kept_strides) * x_item;
    alignas(64) char buffer[stretch * 8];
    for (; one_run && first < last; first += most) {
      const char* x = base + first * step;
      const int64_t m = std::min(most, last - first);
      if (!direct) gather(x, reduced_step(), buffer, m);
      fn.row(op, direct ? x : buffer, m, to);
    }
    for (int64_t i = first; i < last;) {  // elements first..last of the reduction
      const int64_t m = std::min({s.run - i % s.run, last - i, most});
      fn.row(op, load_row(base, i, m, buffer), m, to);
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

/// What `rows` computes where different results are neighbours in memory: its lanes (`fold_row`)
/// for many results at once.
void Reduction::lanes(DType compute) const {
  constexpr int64_t wide = 128;  // results: their lanes stay in the L1 cache
  const int64_t lanes = fold_lanes_bytes / item, most = convert ? tile : stretch;
  const int64_t width = s.kept.back(), blocks = (width + wide - 1) / wide;
  const int64_t pieces = (count + piece_size - 1) / piece_size;
  // Rows behind each other fill all lanes at once.
  const bool packed = !convert && s.reduced.size() == 1 && reduced_step() == width && blocks == 1;
  const int64_t together = packed ? lanes : 1;
  const Tensor part = pieces > 1 ? parts(kept * pieces, compute) : Tensor();
  char* to = pieces > 1 ? static_cast<char*>(part.raw_data()) : acc;
  const int64_t grain =
      std::max<int64_t>(1, parallel_grain / (std::min(width, wide) * std::min(count, piece_size)));
  cpu::parallel_for(kept / width * blocks * pieces, grain, [&](int64_t begin, int64_t end) {
    alignas(64) char part_of[fold_lanes_bytes * wide], buffer[wide * 8];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t p = task % pieces, b = task / pieces % blocks, o = task / pieces / blocks;
      const int64_t first = o * width + b * wide, m = std::min(wide, width - b * wide);
      const int64_t last = std::min(count, (p + 1) * piece_size);
      for (int64_t i = p * piece_size; i < last;) {
        const int64_t n = std::min({s.run - i % s.run, last - i, most});
        fn.ends(op, part_of, lanes * m, count, true);
        for (int64_t c = 0; c < n; c += together) {
          const char* x = at(first, i + c);
          if (convert) gather(x, 1, buffer, m);
          fn.columns(op, convert ? buffer : x, std::min(together, n - c) * m,
                     part_of + c % lanes * m * item);
        }
        for (int64_t w = lanes / 2; w; w /= 2)
          fn.merge_columns(op, part_of + w * m * item, w * m, part_of);
        if (pieces == 1) fn.merge_columns(op, part_of, m, to + first * item);
        else
          for (int64_t k = 0; k < m; ++k)
            fn.merge(op, part_of + k * item, 1, to + ((first + k) * pieces + p) * item);
        i += n;
      }
    }
  });
  for (int64_t i = 0; pieces > 1 && i < kept; ++i)
    fn.merge(op, to + i * pieces * item, pieces, acc + i * item);
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
  if (x.dim() > 0)
    for (int64_t a : axes) is_reduced[a < 0 ? a + x.dim() : a] = true;
  if (axes.empty()) std::fill(is_reduced, is_reduced + x.dim(), true);
  int64_t kept = 1, count = 1;
  for (int i = 0; i < x.dim(); ++i) (is_reduced[i] ? count : kept) *= x.shape()[i];
  if (kept == 0) return;
  // The folds lie as the result does: they are it, when the types agree.
  const bool in_place = out.dtype() == compute && out.is_contiguous();
  const Tensor folds = in_place ? out : empty({kept}, compute);
  char* acc = static_cast<char*>(folds.raw_data());
  fn.ends(op, acc, kept, count, true);
  auto reduce = [&](const Tensor& from) {
    Reduction r{.fn = fn,
                .op = op,
                .data = from.impl()->data,
                .s = {},
                .x_item = itemsize(d),
                .item = itemsize(compute),
                .gather = gather_fn(d, compute),
                .convert = d != compute,
                .kept = kept,
                .count = count,
                .acc = acc};
    for (int i = 0; i < x.dim(); ++i) r.s.add(x.shape()[i], from.strides()[i], is_reduced[i]);
    if (!r.reads_memory()) return false;
    r.run(compute);
    return true;
  };
  if (count > 0 && !reduce(x)) reduce(as_contiguous(x));
  fn.ends(op, acc, kept, count, false);
  if (!in_place) scatter_fn(compute, out.dtype())(acc, out.impl()->data, 1, kept);
}

}  // namespace tandem::detail
