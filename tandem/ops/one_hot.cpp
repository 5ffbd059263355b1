#include "tandem/ops/one_hot.h"

#include <cstring>

#include "tandem/op/kernel.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/minmax.h"

namespace tandem {

TANDEM_OP(OneHot)

Spec OneHot::infer(Specs in) const {
  check<DTypeError>(in[0].dtype == i64 || in[0].dtype == i32, *this,
                    "classes must be i64 or i32, got ", in[0].dtype);
  check(detail::may_be_less(0, num_classes), *this, "num_classes must be positive");
  Shape shape = in[0].shape;
  shape.push_back(num_classes);
  return {shape, i64, in[0].device};
}

void OneHot::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0], i64);
  const int64_t* c = x.data<int64_t>();
  int64_t* y = out[0].data<int64_t>();
  std::memset(y, 0, size_t(out[0].numel()) * sizeof *y);
  for (int64_t i = 0; i < x.numel(); ++i) {
    check<IndexError>(c[i] >= 0 && c[i] < num_classes, *this, "class ", c[i],
                      " is out of range [0, ", num_classes - 1, "]");
    y[i * num_classes + c[i]] = 1;
  }
}

Samples<OneHot> OneHot::samples() {
  return {.ok = {{{.num_classes = 4}, {sample::index({5}, 4)}},
                 {{.num_classes = 3}, {sample::index({2, 3}, 3)}},
                 {{.num_classes = 2}, {sample::index({}, 2)}},
                 {{.num_classes = 2}, {{{0}, i64}}}},
          .errors = {{{.num_classes = 3},
                      {sample::listed({2}, {0, 3}, i64)},
                      "one_hot(num_classes=3): class 3 is out of range [0, 2]"},
                     {{.num_classes = 0},
                      {{{2}, i64}},
                      "one_hot(num_classes=0): num_classes must be positive"},
                     {{.num_classes = 3},
                      {{{2}}},
                      "one_hot(num_classes=3): classes must be i64 or i32, got f64"}}};
}

Tensor one_hot(const Tensor& x, Length num_classes) {
  if (!num_classes.is_known() || num_classes >= 0)
    return apply(OneHot{.num_classes = num_classes}, {x});
  require(x.numel() > 0, "one_hot(num_classes=-1): no elements to find the number of classes in");
  const auto most = max(x).item<int64_t>();
  require<IndexError>(most >= 0 && most < INT64_MAX,
                      "one_hot(num_classes=-1): the largest class is ", most);
  return apply(OneHot{.num_classes = most + 1}, {x});
}

}  // namespace tandem
