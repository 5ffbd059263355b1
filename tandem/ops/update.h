#pragma once
#include <cmath>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/op.h"
#include "tandem/op/simd.h"

// What the update rules of optimizers share. A rule is a record over one parameter with the inputs
// (hyper, step, p, g, states...) and the outputs (p, states..., step); `hyper` holds its numbers,
// so that a recorded graph follows a changed learning rate. The same element function serves
// `multi_update`, which runs over all parameters of an optimizer in one pass, in place.

namespace tandem::detail {

/// One parameter of a multi-tensor update; contiguous, all of one dtype.
struct UpdateItem {
  static constexpr int max_states = 3;
  void* p;
  const void* g;
  void* state[max_states];
  int64_t n;
  double step;  ///< how often the parameter will have been updated after this
};

inline constexpr int64_t update_grain = 16384;  ///< elements a thread takes at a time

struct UpdateChunk {
  int32_t item;
  int64_t begin, end;
};

template <class O, class T, int states, class C>
TANDEM_FN void update_chunk(const C c, const UpdateItem& item, int64_t begin, int64_t end) {
  T* __restrict p = static_cast<T*>(item.p);
  const T* __restrict g = static_cast<const T*>(item.g);
  T* __restrict a = states > 0 ? static_cast<T*>(item.state[0]) : p;
  T* __restrict b = states > 1 ? static_cast<T*>(item.state[1]) : p;
  T* __restrict d = states > 2 ? static_cast<T*>(item.state[2]) : p;
  // No local whose address is taken: compilers do not vectorise over those.
#pragma omp simd
  for (int64_t i = begin; i < end; ++i)
    O::template element<states>(c, p[i], g[i], a[i], b[i], d[i]);
}

template <class O, class T, int states>
void update_all(const O& op, const double* hyper, std::span<const UpdateItem> items) {
  using C = decltype(op.template coefficients<T>(hyper, 1.0));
  static thread_local std::vector<C> kept;  // its memory serves every step
  std::vector<C>& coefficients = kept;
  coefficients.clear();
  int64_t total = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    total += items[i].n;
    if (i && items[i].step == items[i - 1].step) coefficients.push_back(coefficients[i - 1]);
    else coefficients.push_back(op.template coefficients<T>(hyper, items[i].step));
  }
  if (total <= 4 * update_grain || cpu::usable_threads() == 1) {
    simd([&] {
      for (size_t i = 0; i < items.size(); ++i)
        update_chunk<O, T, states>(coefficients[i], items[i], 0, items[i].n);
    });
    return;
  }
  static thread_local std::vector<UpdateChunk> kept_chunks;
  std::vector<UpdateChunk>& chunks = kept_chunks;
  chunks.clear();
  for (size_t i = 0; i < items.size(); ++i)
    for (int64_t k = 0; k < items[i].n; k += update_grain)
      chunks.push_back({int32_t(i), k, std::min(items[i].n, k + update_grain)});
  cpu::parallel_for(int64_t(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    simd([&] {
      for (int64_t k = begin; k < end; ++k) {
        const UpdateChunk& u = chunks[size_t(k)];
        update_chunk<O, T, states>(coefficients[size_t(u.item)], items[size_t(u.item)], u.begin,
                                   u.end);
      }
    });
  });
}

template <class O, class T>
void update_typed(const O& op, const double* hyper, std::span<const UpdateItem> items, int states) {
  if constexpr (O::min_states <= 0 && O::max_states >= 0)
    if (states == 0) return update_all<O, T, 0>(op, hyper, items);
  if constexpr (O::min_states <= 1 && O::max_states >= 1)
    if (states == 1) return update_all<O, T, 1>(op, hyper, items);
  if constexpr (O::min_states <= 2 && O::max_states >= 2)
    if (states == 2) return update_all<O, T, 2>(op, hyper, items);
  if constexpr (O::min_states <= 3 && O::max_states >= 3)
    if (states == 3) return update_all<O, T, 3>(op, hyper, items);
}

template <class O>
void update_erased(const void* op, const double* hyper, std::span<const UpdateItem> items,
                   int states, DType dtype) {
  const O& o = *static_cast<const O*>(op);
  if (dtype == f64) update_typed<O, double>(o, hyper, items, states);
  else update_typed<O, float>(o, hyper, items, states);
}

/// The shape rule of all update records: every output is what its input was.
TANDEM_API void update_infer(const OpInfo& info, const void* op, int hyper_size, Specs in,
                             std::vector<Spec>& out);
/// The kernel of the record form: copies the inputs to the outputs and updates those.
TANDEM_API void update_cpu(const OpInfo& info, const void* op, Inputs in, Outputs out);

/// `update` of a record with an `element` function. Of the items the first `states` state pointers
/// are set; dtype is f32 or f64.
template <class O>
requires(O::hyper_size > 0) inline constexpr UpdateFn update_of<O> = update_erased<O>;

}  // namespace tandem::detail
