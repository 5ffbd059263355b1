#pragma once
#include "tandem/core/random.h"
#include "tandem/op/op.h"

namespace tandem {

// Random tensors are functions of a key, i64[2] = (seed, offset): the same key gives the same
// numbers on any machine, for any number of threads. The public functions draw a key.

/// Uniform numbers in [low, high): `shape`, `dtype` floating.
struct RandomUniform {
  static constexpr std::string_view name = "random_uniform";
  static constexpr std::string_view inputs = "key";
  static constexpr std::string_view not_differentiable = "random numbers depend on no input";

  Shape shape = {};
  DType dtype = f32;
  double low = 0, high = 1;
  static constexpr auto fields =
      Fields{field("shape", &RandomUniform::shape), field("dtype", &RandomUniform::dtype),
             field("low", &RandomUniform::low), field("high", &RandomUniform::high)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<RandomUniform> samples();
};

/// Normal numbers (Box and Muller 1958).
struct RandomNormal {
  static constexpr std::string_view name = "random_normal";
  static constexpr std::string_view inputs = "key";
  static constexpr std::string_view not_differentiable = "random numbers depend on no input";

  Shape shape = {};
  DType dtype = f32;
  double mean = 0, std = 1;
  static constexpr auto fields =
      Fields{field("shape", &RandomNormal::shape), field("dtype", &RandomNormal::dtype),
             field("mean", &RandomNormal::mean), field("std", &RandomNormal::std)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<RandomNormal> samples();
};

/// Integers in [low, high), as any dtype but bool.
struct RandomInt {
  static constexpr std::string_view name = "random_int";
  static constexpr std::string_view inputs = "key";
  static constexpr std::string_view not_differentiable = "random numbers depend on no input";

  Shape shape = {};
  DType dtype = i64;
  Length low = 0, high = 1;
  static constexpr auto fields =
      Fields{field("shape", &RandomInt::shape), field("dtype", &RandomInt::dtype),
             field("low", &RandomInt::low), field("high", &RandomInt::high)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<RandomInt> samples();
};

/// 1 with the probability that `p` gives for each element, else 0; dtype of `p`.
struct Bernoulli {
  static constexpr std::string_view name = "bernoulli";
  static constexpr std::string_view inputs = "p, key";
  static constexpr IndexSet on_cpu{1};
  static constexpr std::string_view not_differentiable = "a draw is constant almost everywhere";
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Bernoulli> samples();
};

/// 0..n-1 in random order (Fisher and Yates), i64[n].
struct Randperm {
  static constexpr std::string_view name = "randperm";
  static constexpr std::string_view inputs = "key";
  static constexpr std::string_view not_differentiable = "random numbers depend on no input";

  Length n = 0;
  static constexpr auto fields = Fields{field("n", &Randperm::n)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Randperm> samples();
};

/// Indices drawn with the given weights (not negative, not all zero; they need not sum to one):
/// p [n] gives i64[num_samples], p [rows, n] gives i64[rows, num_samples]. Without replacement by
/// exponential clocks (Efraimidis and Spirakis 2006).
struct Multinomial {
  static constexpr std::string_view name = "multinomial";
  static constexpr std::string_view inputs = "p, key";
  static constexpr IndexSet on_cpu{1};
  static constexpr std::string_view not_differentiable = "indices have no gradient";

  int64_t num_samples = 1;
  bool replacement = false;
  static constexpr auto fields = Fields{field("num_samples", &Multinomial::num_samples),
                                        field("replacement", &Multinomial::replacement)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Multinomial> samples();
};

/// Uniform in [0, 1), normal, and integers in [low, high); from `generator`.
TANDEM_API Tensor rand(const Shape& shape, DType dtype = f32,
                       Generator& generator = default_generator());
TANDEM_API Tensor randn(const Shape& shape, DType dtype = f32,
                        Generator& generator = default_generator());
// Lengths without braces: `randn(3, 4)`.
template <detail::AxisNumber... I>
requires(sizeof...(I) > 1) Tensor rand(I... lengths) { return rand(Shape{Length(lengths)...}); }
template <detail::AxisNumber... I>
requires(sizeof...(I) > 1) Tensor randn(I... lengths) { return randn(Shape{Length(lengths)...}); }
TANDEM_API Tensor randint(Length low, Length high, const Shape& shape, DType dtype = i64,
                          Generator& generator = default_generator());
inline Tensor randint(Length high, const Shape& shape) { return randint(0, high, shape); }
TANDEM_API Tensor rand_like(const Tensor& t, Generator& generator = default_generator());
TANDEM_API Tensor randn_like(const Tensor& t, Generator& generator = default_generator());
TANDEM_API Tensor randint_like(const Tensor& t, Length low, Length high,
                               Generator& generator = default_generator());
TANDEM_API Tensor randperm(Length n, Generator& generator = default_generator());
TANDEM_API Tensor bernoulli(const Tensor& p, Generator& generator = default_generator());
TANDEM_API Tensor multinomial(const Tensor& p, int64_t num_samples, bool replacement = false,
                              Generator& generator = default_generator());
/// In place; gives `t`. Errors: as every in-place write.
TANDEM_API Tensor uniform_(const Tensor& t, double low = 0, double high = 1,
                           Generator& generator = default_generator());
TANDEM_API Tensor normal_(const Tensor& t, double mean = 0, double std = 1,
                          Generator& generator = default_generator());
TANDEM_API Tensor bernoulli_(const Tensor& t, double p = 0.5,
                             Generator& generator = default_generator());

}  // namespace tandem
