#pragma once
// The checks that hold for every op of the table. Each returns an empty text, or what is wrong;
// that way a test can also show that a wrong record is found out.
#include <string>

#include "tests/support/compare.h"
#include "tests/support/golden.h"
#include "tests/support/inputs.h"

namespace tandem::testing {

/// One sample of one op.
struct Case {
  const OpInfo* info = nullptr;
  Sample sample;
  int number = 0;

  const void* op() const { return sample.op.get(); }
  Tensors inputs(std::optional<DType> stand_in = {}) const {
    return make_inputs(info->name, number, sample.in, stand_in);
  }
  Tensor cotangent(int k, const Spec& out) const {
    return make_cotangent(info->name, number, k, out.shape, out.dtype);
  }
  bool has_floating_input() const;
  bool checks_gradient() const;
  std::string text() const { return info->print(sample.op.get()); }
};

Tensors run(const Case& c, const Tensors& in);

/// What differs between two lists, or nothing; `slack` widens the dtype's tolerance.
std::string compare_all(const char* what, const Tensors& got, const Tensors& want, double slack);

/// Gradients of the outputs' product with fixed cotangents; undefined for other than f64-like
/// inputs. `graph` keeps them differentiable.
Tensors gradients(const Case& c, const Tensors& in);

/// 1: what `infer` says is what the op gives, on the CPU and on the null device, and a view equals
/// the same record's kernel.
std::string check_infer(const Case& c);
/// 2: outputs and gradients equal the golden ones.
std::string check_golden(const Case& c, const Golden& golden);
/// 3: f32, f16 and bf16 equal the f64 result of the same (rounded) inputs, gradients too; every
/// dtype that the golden's author takes is taken, with the same result dtype and integer values.
std::string check_dtypes(const Case& c, const Golden* golden);
/// 4, 5: f64 gradients against central differences.
std::string check_gradient(const Case& c);
std::string check_second_gradient(const Case& c);
/// 6: a recorded graph, with its recorded gradient, gives what eager code gives.
std::string check_graph(const Case& c);
/// 7: inside compile() the op, its gradient there and its gradient from outside are those of eager
/// code, between other nodes too: bit for bit when `deterministic`.
std::string check_compiled(const Case& c);
/// 8: a session whose placeholders leave lengths open gives what plain code gives, gradients too.
std::string check_lengths(const Case& c);
/// 9: inputs that lie otherwise in memory, or repeat by zero strides, change nothing.
std::string check_strided(const Case& c);
/// 10: a bad sample throws a typed error with the exact text.
std::string check_error(const Case& c);
/// Attributes survive a trip through FieldVisitor; hash, equality and print see every one.
std::string check_attributes(const Case& c);
/// An undefined input in any place, or one on another device than the rest, is a typed error,
/// eagerly and in a graph.
std::string check_misplaced(const Case& c);
/// Elementwise ops take 0-d and empty inputs.
std::string check_scalar_and_empty(const Case& c);

}  // namespace tandem::testing
