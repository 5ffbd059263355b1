#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "tandem/op/samples.h"

// Good samples that fit several records as they are.

namespace tandem::sample {

template <class O>
using Good = std::vector<typename Samples<O>::Ok>;

/// One input: strided, empty, 0-d, special values, integers.
template <class O>
Good<O> unary() {
  return {{{}, {{{3, 5}}}},
          {{}, {{{}}}},
          {{}, {{{0, 2}}}},
          {{}, {strided({5, 4})}},
          {{}, {listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})}, false},
          {{}, {{{6}, i32}}}};
}

/// The same where finite values and gradients are those of positive numbers.
template <class O>
Good<O> unary_of_positive() {
  return {{{}, {positive({3, 5})}},
          {{}, {positive({})}},
          {{}, {positive({0, 2})}},
          {{}, {positive({17, 3})}},
          {{}, {listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})}, false},
          {{}, {{{6}, i32}}}};
}

/// The gradient record of one input: dy, and the input or the result.
template <class O>
Good<O> unary_gradient() {
  return {{{}, {{{3, 5}}, {{3, 5}}}}, {{}, {{{}}, {{}}}}, {{}, {{{0, 2}}, {{0, 2}}}}};
}

/// Two inputs, a boolean result: equal and unordered values, mixed dtypes.
template <class O>
Samples<O> comparison() {
  return {
      .ok = {{{}, {{{3, 5}}, {{3, 5}}}},
             {{}, {{{3, 1}}, {{5}}}},
             {{}, {{{}}, {{2, 3}}}},
             {{}, {{{0, 3}}, {{3}}}},
             {{}, {strided({4, 3}), {{4, 3}}}},
             {{},
              {listed({6}, {0, 1, -1, HUGE_VAL, NAN, -0.0}),
               listed({6}, {-0.0, 1, 2, HUGE_VAL, NAN, 0})}},
             {{}, {{{40}, i8}, {{40}, i32}}},
             {{}, {{{9}, u8}, {{}}}},
             {{}, {mask({8}), mask({8})}}},
      .errors = {
          {{}, {{{3}}, {{4}}}, std::string(O::name) + "(): shapes [3] and [4] do not broadcast"}}};
}

/// An elementwise loss of two inputs.
template <class O>
Good<O> loss() {
  return {{{}, {{{3, 5}}, {{3, 5}}}},
          {{.reduction = "sum"}, {{{3, 5}}, {{3, 5}}}},
          {{.reduction = "none"}, {{{3, 5}}, {{3, 5}}}},
          {{}, {{{}}, {{}}}},
          {{}, {{{3, 1}}, {{5}}}},
          {{}, {strided({5, 4}), {{5, 4}}}},
          {{.reduction = "sum"}, {{{0, 2}}, {{0, 2}}}},
          {{}, {{{0, 2}}, {{0, 2}}}, false},
          {{}, {{{70000}, f32}, {{70000}, f32}}, false}};
}

/// Its gradient record: dy and the two inputs.
template <class O>
Good<O> loss_gradient() {
  return {{{}, {{{3, 5}}, {{3, 5}}, {{3, 5}}}},
          {{.scale = 0.25}, {{{}}, {{3, 5}}, {{3, 5}}}},
          {{}, {{{0, 2}}, {{0, 2}}, {{0, 2}}}}};
}

}  // namespace tandem::sample
