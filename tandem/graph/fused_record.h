#pragma once
#include <array>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/op/recorder.h"

// What records that hold a program of other records share (FusedPoint, FusedRow, FusedProduct).

namespace tandem::graph {

/// The row of such a record, whose attributes are a Held; outputs and functions that know the
/// program are left to fill in.
template <class Held>
constexpr OpInfo fused_record(std::string_view name, int max_inputs) {
  OpInfo r{};
  r.name = name;
  r.inputs = "x...";
  r.min_inputs = 1;
  r.max_inputs = max_inputs;
  r.not_differentiable = "made by a pass, after gradients were taken";
  r.size = sizeof(Held);
  r.align = alignof(Held);
  r.copy = [](void* to, const void* from) { new (to) Held(*static_cast<const Held*>(from)); };
  r.destroy = [](void* op) { static_cast<Held*>(op)->~Held(); };
  return r;
}

/// That row for 1, 2, ... N outputs.
template <int N>
constexpr std::array<OpInfo, N> for_outputs(const OpInfo& row) {
  std::array<OpInfo, N> rows;
  for (int i = 0; i < N; ++i) {
    rows[size_t(i)] = row;
    rows[size_t(i)].outputs = i + 1;
  }
  return rows;
}

/// "$3 = leaky_relu($2, negative_slope=0.01)" for an instruction of either program.
template <class Instruction>
std::string instruction_text(const Instruction& step, int first_result, int results) {
  std::string s;
  for (int i = 0; i < results; ++i) s += cat(i ? ", $" : "$", first_result + i);
  const std::string call = step.info->print(step.op.get());
  const size_t open = call.find('(') + 1;
  s += " = " + call.substr(0, open);
  for (size_t i = 0; i < step.operands.size(); ++i)
    s +=
        cat(i ? ", " : "", step.operands[i] < 0 ? std::string("none") : cat("$", step.operands[i]));
  return s + cat(call.size() > open + 1 ? ", " : "", call.substr(open));
}

inline std::string results_text(const std::vector<int>& outputs) {
  std::string s = ", results=";
  for (size_t i = 0; i < outputs.size(); ++i) s += cat(i ? ", $" : "$", outputs[i]);
  return s + ")";
}

template <class Program>
uint64_t hash_program(uint64_t h, const Program& p) {
  for (const auto& step : p.program) {
    h = detail::mix(h, step.info->hash(step.op.get()));
    for (int id : step.operands) h = detail::mix(h, uint64_t(id));
  }
  return h;
}

template <class Program>
bool equal_programs(const Program& x, const Program& y) {
  bool same = x.outputs == y.outputs && x.program.size() == y.program.size();
  for (size_t k = 0; same && k < x.program.size(); ++k) {
    const auto &s = x.program[k], &t = y.program[k];
    same = s.info == t.info && s.operands == t.operands && s.info->equal(s.op.get(), t.op.get());
  }
  return same;
}

/// The inputs, all of them row-major: those of which one is not are copied into `copies`.
inline Inputs row_major(Inputs in, Tensors& copies) {
  bool plain = true;
  for (const Tensor& t : in) plain = plain && t.is_contiguous();
  if (plain) return in;
  for (const Tensor& t : in) copies.push_back(detail::as_contiguous(t));
  return {copies.data(), copies.size()};
}

/// Tensors on the stack that records see parts of other tensors through. They have no storage and
/// are not counted.
template <int N>
class Shells {
 public:
  TensorImpl* make(size_t i, const Spec& spec) {
    TensorImpl* t = new (memory_ + i) TensorImpl;
    t->refs.store(1u << 30, std::memory_order_relaxed);
    t->spec = spec;
    set_shape(t);
    return t;
  }
  TensorImpl* operator[](int i) { return std::launder(reinterpret_cast<TensorImpl*>(memory_ + i)); }
  /// After a change of the spec.
  static void set_shape(TensorImpl* t) {
    t->strides = contiguous_strides(t->spec.shape);
    t->numel = t->spec.shape.numel();
  }

 private:
  static_assert(std::is_trivially_destructible_v<Spec>);
  struct alignas(TensorImpl) Memory {
    char bytes[sizeof(TensorImpl)];
  };
  Memory memory_[N];
};

}  // namespace tandem::graph
