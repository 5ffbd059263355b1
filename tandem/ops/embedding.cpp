#include "tandem/ops/embedding.h"

#include <algorithm>
#include <cstring>

#include "tandem/op/kernel.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/masked_fill.h"
#include "tandem/ops/reshape.h"

namespace tandem {

TANDEM_OP(Embedding)
TANDEM_OP(EmbeddingGrad)
namespace {

template <class O>
void check_padding(const O& op, Length rows) {
  if (op.padding_idx)
    check<IndexError>(
        detail::may_fit(-rows, *op.padding_idx) && detail::may_be_less(*op.padding_idx, rows), op,
        "padding_idx ", *op.padding_idx, " is out of range [", -rows, ", ", rows - 1, "]");
}

Length padding_row(std::optional<int64_t> padding_idx, Length rows) {
  return padding_idx ? detail::from_end(*padding_idx, rows) : Length(-1);
}

template <class O>
Tensor checked_rows(const O& op, const Tensor& index, int64_t rows) {
  const Tensor list = detail::as_contiguous(index, i64);
  const int64_t* p = list.data<int64_t>();
  for (int64_t i = 0; i < list.numel(); ++i)
    check<IndexError>(p[i] >= 0 && p[i] < rows, op, "index ", p[i], " is out of range [0, ",
                      rows - 1, "]");
  return list;
}

}  // namespace

Spec Embedding::infer(Specs in) const {
  detail::check_index_dtype(*this, in[0].dtype);
  check<ShapeError>(in[1].shape.size() == 2, *this, "weight must have shape [rows, width], got ",
                    in[1].shape);
  check_padding(*this, in[1].shape[0]);
  Shape shape = in[0].shape;
  shape.push_back(in[1].shape[1]);
  return {shape, in[1].dtype, in[1].device};
}

void Embedding::cpu(Inputs in, Outputs out) const {
  const Tensor weight = detail::as_contiguous(in[1]);
  const Tensor index = checked_rows(*this, in[0], weight.shape()[0]);
  const int64_t* rows = index.data<int64_t>();
  const int64_t bytes = weight.shape()[1] * itemsize(weight.dtype());
  const char* from = static_cast<const char*>(weight.raw_data());
  char* to = static_cast<char*>(out[0].raw_data());
  cpu::parallel_for(index.numel(), std::max<int64_t>(1, 65536 / std::max<int64_t>(1, bytes)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i)
                        std::memcpy(to + i * bytes, from + rows[i] * bytes, size_t(bytes));
                    });
}

Tensors Embedding::vjp(const Saved& s, const Tensor& dy) const {
  return {Tensor(),
          apply(EmbeddingGrad{.rows = s.shape(1)[0], .padding_idx = padding_idx}, {dy, s.in(0)})};
}

Samples<Embedding> Embedding::samples() {
  return {.ok = {{{}, {sample::index({4}, 3), {{3, 5}}}},
                 {{.padding_idx = 1}, {sample::index({2, 7}, 3), {{3, 5}}}, false},
                 {{.padding_idx = -1}, {sample::index({9}, 4), sample::strided({4, 3})}, false},
                 {{}, {sample::index({}, 3), {{3, 5}}}},
                 {{}, {{{0}, i64}, {{3, 5}}}}},
          .errors = {{{},
                      {sample::listed({2}, {0, 3}, i64), {{3, 5}}},
                      "embedding(padding_idx=none): index 3 is out of range [0, 2]"},
                     {{},
                      {{{2}, i64}, {{3}}},
                      "embedding(padding_idx=none): weight must have shape [rows, width], got "
                      "[3]"},
                     {{.padding_idx = 3},
                      {{{2}, i64}, {{3, 5}}},
                      "embedding(padding_idx=3): padding_idx 3 is out of range [-3, 2]"},
                     {{},
                      {{{2}}, {{3, 5}}},
                      "embedding(padding_idx=none): an index must be i64 or i32, got f64"}}};
}

Spec EmbeddingGrad::infer(Specs in) const {
  detail::check_index_dtype(*this, in[1].dtype);
  check_padding(*this, rows);
  Shape want = in[1].shape;
  check<ShapeError>(!in[0].shape.empty(), *this, "dy of shape ", in[0].shape, " has no width");
  const Length width = in[0].shape.back();
  want.push_back(width);
  check<ShapeError>(detail::may_equal(in[0].shape, want), *this, "dy must have shape ", want,
                    ", got ", in[0].shape);
  return {{rows, width}, in[0].dtype, in[0].device};
}

void EmbeddingGrad::cpu(Inputs in, Outputs out) const {
  const Tensor index = checked_rows(*this, in[1], rows);
  // Halves are added up in f32.
  const bool half = out[0].dtype() == f16 || out[0].dtype() == bf16;
  const Tensor dy = half ? detail::as_contiguous(in[0], f32) : detail::as_contiguous(in[0]);
  Tensor sum = half ? empty(out[0].shape(), f32) : out[0];
  const int64_t width = sum.shape()[1], n = index.numel();
  const int64_t skip = padding_row(padding_idx, rows);
  const int64_t* at = index.data<int64_t>();
  visit(sum.dtype(), [&]<class T>() {
    if constexpr (!std::is_class_v<T>) {
      const T* from = static_cast<const T*>(dy.raw_data());
      T* to = static_cast<T*>(sum.raw_data());
      // Each thread owns a range of rows and adds what falls there, in the order of the indices.
      const int64_t work = (rows + n) * std::max<int64_t>(width, 1);
      const int64_t parts = work < 65536 ? 1 : std::min<int64_t>(rows, cpu::usable_threads());
      cpu::parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
        const int64_t first = rows * begin / parts, last = rows * end / parts;
        std::memset(static_cast<void*>(to + first * width), 0,
                    size_t((last - first) * width) * sizeof(T));
        for (int64_t i = 0; i < n; ++i) {
          if (at[i] < first || at[i] >= last || at[i] == skip) continue;
          const T* p = from + i * width;
          T* y = to + at[i] * width;
          for (int64_t k = 0; k < width; ++k) y[k] = math::add(y[k], p[k]);
        }
      });
    }
  });
  if (half) detail::copy_data(out[0], sum);
}

Tensors EmbeddingGrad::vjp(const Saved& s, const Tensor& dy) const {
  Tensor dx = embedding(s.in(1), dy);
  if (padding_idx)
    dx = masked_fill(dx, unsqueeze(eq(s.in(1), padding_row(padding_idx, rows)), -1), 0.0);
  return {dx, Tensor()};
}

Samples<EmbeddingGrad> EmbeddingGrad::samples() {
  return {.ok = {{{.rows = 3}, {{{4, 5}}, sample::index({4}, 3)}},
                 {{.rows = 3, .padding_idx = 1}, {{{2, 7, 5}}, sample::index({2, 7}, 3)}},
                 {{.rows = 3}, {{{5}}, sample::index({}, 3)}},
                 {{.rows = 3}, {{{0, 5}}, {{0}, i64}}}},
          .errors = {{{.rows = 3},
                      {{{4, 5}}, {{3}, i64}},
                      "embedding_grad(rows=3, padding_idx=none): dy must have shape [3, 5], got "
                      "[4, 5]"}}};
}

}  // namespace tandem
