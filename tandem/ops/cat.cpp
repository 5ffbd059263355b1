#include "tandem/ops/cat.h"

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/slice.h"

namespace tandem {

TANDEM_OP(Cat)
TANDEM_OP(Stack)
namespace {

/// PyTorch's rule: an empty list counts for nothing among tensors of more axes.
bool left_out(const Shape& s, int rank) {
  return s.size() == 1 && rank != 1 && detail::may_equal(s[0], 0);
}

/// Copies `part` to the elements of `out` from `at` on along `axis`.
void place(const Tensor& out, const Tensor& part, int axis, int64_t at) {
  detail::copy_data(detail::alias(out, part.shape(), out.strides(), at * out.strides()[axis]),
                    part);
}

}  // namespace

Spec Cat::infer(Specs in) const {
  int first = 0;
  for (int i = 1; i < in.size(); ++i)
    if (left_out(in[first].shape, in[i].shape.size())) first = i;
  Spec out = in[first];
  check<ShapeError>(!out.shape.empty(), *this, "0-d tensors have no axis; use stack");
  const int a = check_axis(*this, axis, out.shape);
  out.dtype = in[0].dtype;
  out.shape[a] = 0;
  for (int i = 0; i < in.size(); ++i) {
    out.dtype = promote(out.dtype, in[i].dtype);
    check<DeviceError>(in[i].device == out.device, *this, "inputs are on ", out.device, " and ",
                       in[i].device);
    if (left_out(in[i].shape, out.shape.size())) continue;
    bool fits = in[i].shape.size() == out.shape.size();
    for (int k = 0; fits && k < out.shape.size(); ++k)
      fits = k == a || detail::may_equal(in[i].shape[k], out.shape[k]);
    check<ShapeError>(fits, *this, "shape ", in[i].shape, " of input ", i, " differs from ",
                      in[first].shape, " outside axis ", a);
    out.shape[a] += in[i].shape[a];
  }
  return out;
}

void Cat::cpu(Inputs in, Outputs out) const {
  const int a = check_axis(*this, axis, out[0].shape());
  int64_t at = 0;
  for (const Tensor& t : in) {
    if (left_out(t.shape(), out[0].dim())) continue;
    place(out[0], t, a, at);
    at += t.shape()[a];
  }
}

Tensors Cat::vjp(const Saved& s, const Tensor& dy) const {
  const int a = check_axis(*this, axis, dy.shape());
  Tensors dx(size_t(s.size()));
  Length at = 0;
  for (int i = 0; i < s.size(); ++i) {
    const Shape& shape = s.shape(i);
    if (left_out(shape, dy.dim())) {
      if (s.needs(i)) dx[size_t(i)] = zeros(shape, dy.dtype(), dy.device());
      continue;
    }
    if (s.needs(i)) dx[size_t(i)] = slice(dy, a, at, at + shape[a]);
    at += shape[a];
  }
  return dx;
}

Samples<Cat> Cat::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{2, 5}}}},
                 {{.axis = -1}, {{{3, 5}}, sample::strided({3, 2}), {{3, 1}}}},
                 {{.axis = 1}, {{{2, 3, 4}}, {{2, 1, 4}}}},
                 {{}, {{{3}}}},
                 {{}, {{{0}}, {{2, 3}}, {{0, 3}}}},
                 {{}, {{{2}, i32}, {{2}, i64}, sample::mask({3})}}},
          .errors = {{{},
                      {{{3, 5}}, {{2, 4}}},
                      "cat(axis=0): shape [2, 4] of input 1 differs from [3, 5] outside axis 0"},
                     {{}, {{{}}}, "cat(axis=0): 0-d tensors have no axis; use stack"},
                     {{.axis = 2},
                      {{{3, 5}}},
                      "cat(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]"}}};
}

Spec Stack::infer(Specs in) const {
  Spec out = in[0];
  for (int i = 1; i < in.size(); ++i) {
    out.dtype = promote(out.dtype, in[i].dtype);
    check<DeviceError>(in[i].device == out.device, *this, "inputs are on ", out.device, " and ",
                       in[i].device);
    check<ShapeError>(detail::may_equal(in[i].shape, out.shape), *this, "shape ", in[i].shape,
                      " of input ", i, " differs from ", out.shape);
  }
  Shape grown = out.shape;
  grown.push_back(1);
  out.shape.insert(check_axis(*this, axis, grown), in.size());
  return out;
}

void Stack::cpu(Inputs in, Outputs out) const {
  const int a = check_axis(*this, axis, out[0].shape());
  Strides strides = out[0].strides();
  const int64_t step = strides[a];
  strides.erase(a);
  for (size_t i = 0; i < in.size(); ++i)
    detail::copy_data(detail::alias(out[0], in[i].shape(), strides, int64_t(i) * step), in[i]);
}

Tensors Stack::vjp(const Saved& s, const Tensor& dy) const {
  Tensors dx(size_t(s.size()));
  for (int i = 0; i < s.size(); ++i)
    if (s.needs(i)) dx[size_t(i)] = select(dy, axis, i);
  return dx;
}

Samples<Stack> Stack::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{.axis = -1}, {{{3, 4}}, sample::strided({3, 4}), {{3, 4}}}},
                 {{.axis = 1}, {{{2, 3}, i32}, {{2, 3}}}},
                 {{}, {{{}}, {{}}, {{}}}},
                 {{}, {{{0, 2}}}}},
          .errors = {{{},
                      {{{3, 5}}, {{3, 4}}},
                      "stack(axis=0): shape [3, 4] of input 1 differs from [3, 5]"}}};
}

}  // namespace tandem
