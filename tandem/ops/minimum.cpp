#include "tandem/ops/minimum.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(Minimum)
TANDEM_OP(Maximum)

namespace {

/// `dy` where `loses` is false, half of it at ties.
Tensor share(const Tensor& dy, const Tensor& ties, const Tensor& loses) {
  return where(loses, 0, where(ties, dy * 0.5, dy));
}

template <class O>
Samples<O> extremum_samples(std::string error) {
  using sample::listed;
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{3, 1}}, {{5}}}},
                 {{}, {{{}}, {{2, 3}}}},
                 {{}, {{{0, 3}}, {{3}}}},
                 {{}, {sample::strided({4, 3}), {{4, 3}}}},
                 {{},
                  {listed({6}, {1, 2, NAN, 0, NAN, HUGE_VAL}), listed({6}, {1, 3, 0, NAN, NAN, 5})},
                  false},
                 {{}, {{{40}, i8}, {{40}, i32}}},
                 {{}, {sample::mask({8}), sample::mask({8})}}},
          .errors = {{{}, {{{3}}, {{4}}}, std::move(error)}}};
}

}  // namespace

Tensors Minimum::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor &x = s.in(0), &y = s.in(1), ties = x == y;
  return {s.needs(0) ? share(dy, ties, x > y) : Tensor(),
          s.needs(1) ? share(dy, ties, y > x) : Tensor()};
}

Samples<Minimum> Minimum::samples() {
  return extremum_samples<Minimum>("minimum(): shapes [3] and [4] do not broadcast");
}

Tensors Maximum::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor &x = s.in(0), &y = s.in(1), ties = x == y;
  return {s.needs(0) ? share(dy, ties, x < y) : Tensor(),
          s.needs(1) ? share(dy, ties, y < x) : Tensor()};
}

Samples<Maximum> Maximum::samples() {
  return extremum_samples<Maximum>("maximum(): shapes [3] and [4] do not broadcast");
}

}  // namespace tandem
