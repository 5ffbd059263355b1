#include "tandem/ops/tril.h"

#include <algorithm>
#include <cstring>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Tril)
TANDEM_OP(Triu)
namespace {

template <class O>
Spec infer_matrix(const O& op, const Spec& x) {
  check<ShapeError>(x.shape.size() >= 2, op, "needs at least two axes, got shape ", x.shape);
  return x;
}

/// Copies, then clears the columns from..to of every row.
template <class F>
void clear(const Tensor& x, Tensor& out, const F& columns) {
  detail::copy_data(out, x);
  const int64_t n = out.shape()[out.dim() - 2], width = out.shape().back();
  if (out.numel() == 0) return;
  const int64_t item = itemsize(out.dtype());
  char* data = static_cast<char*>(out.raw_data());
  cpu::parallel_for(
      out.numel() / width, std::max<int64_t>(1, 65536 / width), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          auto [from, to] = columns(row % n);
          from = std::clamp<int64_t>(from, 0, width);
          to = std::clamp<int64_t>(to, from, width);
          std::memset(data + (row * width + from) * item, 0, size_t((to - from) * item));
        }
      });
}

template <class O>
Samples<O> matrix_samples() {
  return {
      .ok = {{{}, {{{3, 5}}}},
             {{.diagonal = 1}, {{{5, 3}}}},
             {{.diagonal = -2}, {{{2, 4, 3}}}},
             {{.diagonal = 9}, {{{3, 3}}}},
             {{.diagonal = -9}, {{{3, 3}}}},
             {{}, {sample::strided({4, 3})}},
             {{}, {{{0, 3}}}},
             {{}, {{{3, 3}, i32}}}},
      .errors = {{{},
                  {{{3}}},
                  std::string(O::name) + "(diagonal=0): needs at least two axes, got shape [3]"}}};
}

using Columns = std::pair<int64_t, int64_t>;

/// A diagonal that clears the same, whatever its number is.
int64_t within(int64_t diagonal, const Shape& s) {
  const int64_t height = s[s.size() - 2], width = s.back();
  return std::clamp(diagonal, -height - 1, width + 1);
}

}  // namespace

Spec Tril::infer(Specs in) const { return infer_matrix(*this, in[0]); }
void Tril::cpu(Inputs in, Outputs out) const {
  clear(in[0], out[0],
        [&](int64_t i) { return Columns(i + within(diagonal, in[0].shape()) + 1, INT64_MAX); });
}
Tensors Tril::vjp(const Saved&, const Tensor& dy) const { return {apply(*this, {dy})}; }
Samples<Tril> Tril::samples() { return matrix_samples<Tril>(); }

Spec Triu::infer(Specs in) const { return infer_matrix(*this, in[0]); }
void Triu::cpu(Inputs in, Outputs out) const {
  clear(in[0], out[0], [&](int64_t i) { return Columns(0, i + within(diagonal, in[0].shape())); });
}
Tensors Triu::vjp(const Saved&, const Tensor& dy) const { return {apply(*this, {dy})}; }
Samples<Triu> Triu::samples() { return matrix_samples<Triu>(); }

}  // namespace tandem
