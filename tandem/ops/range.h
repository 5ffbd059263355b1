#pragma once
#include <optional>

#include "tandem/op/op.h"

namespace tandem {

// Tensors that are made of numbers alone. In a graph under construction they are nodes, so that
// their lengths may be unknown.

/// start, start + step, ... below (or, for negative steps, above) `end`: i64, or as `dtype`.
struct Arange {
  static constexpr std::string_view name = "arange";
  static constexpr std::string_view inputs = "";
  static constexpr std::string_view not_differentiable = "it depends on no input";
  static constexpr OnnxRule onnx{"Range", 11};

  Length start = 0, end = 0, step = 1;
  DType dtype = i64;
  static constexpr auto fields =
      Fields{field("start", &Arange::start), field("end", &Arange::end),
             field("step", &Arange::step), field("dtype", &Arange::dtype)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Arange> samples();
};

/// `steps` values from `start` to `end`, both included.
struct Linspace {
  static constexpr std::string_view name = "linspace";
  static constexpr std::string_view inputs = "";
  static constexpr std::string_view not_differentiable = "it depends on no input";

  Number start = 0, end = 1;
  Length steps = 0;
  DType dtype = f32;
  static constexpr auto fields =
      Fields{field("start", &Linspace::start), field("end", &Linspace::end),
             field("steps", &Linspace::steps), field("dtype", &Linspace::dtype)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Linspace> samples();
};

/// The identity matrix [n, m].
struct Eye {
  static constexpr std::string_view name = "eye";
  static constexpr std::string_view inputs = "";
  static constexpr std::string_view not_differentiable = "it depends on no input";

  Length n = 0, m = 0;
  DType dtype = f32;
  static constexpr auto fields =
      Fields{field("n", &Eye::n), field("m", &Eye::m), field("dtype", &Eye::dtype)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Eye> samples();
};

/// start, start + step, ... below `end`. Integer arguments give i64 unless `dtype` is given.
/// Errors: ValueError for steps that do not lead from start to end; LengthError when other numbers
/// than integers depend on an unknown length.
TANDEM_API Tensor arange(Scalar start, Scalar end, Scalar step = 1,
                         std::optional<DType> dtype = {});
TANDEM_API Tensor arange(Scalar end);
/// `steps` values from `start` to `end`, both included.
TANDEM_API Tensor linspace(Number start, Number end, Length steps, DType dtype = f32);
/// The identity matrix [n, m]; square when `m` is left out.
TANDEM_API Tensor eye(Length n, std::optional<Length> m = {}, DType dtype = f32);

}  // namespace tandem
