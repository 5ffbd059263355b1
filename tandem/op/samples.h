#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tandem/op/op.h"

namespace tandem {

/// How a sample's input is filled. Values are drawn from a seed fixed by the op and the sample.
struct InputSpec {
  enum Fill : uint8_t {
    normal,    ///< scale * N(0, 1) + shift; integers in [-9, 9] (u8: [0, 9]) plus shift
    positive,  ///< uniform in (0.1, 2) * scale
    unit,      ///< uniform in (-0.9, 0.9)
    index,     ///< integers in [0, scale)
    distinct,  ///< a shuffled arithmetic sequence: no ties
    mask,      ///< booleans
    listed,    ///< `values`, repeated as needed
    absent     ///< an optional input that is left out
  };
  Shape shape;
  DType dtype = f64;  ///< f64 stands for every floating type that the op takes
  Fill fill = normal;
  double scale = 1, shift = 0;
  std::vector<double> values = {};
  bool transposed = false;  ///< lies transposed in memory, so that its strides are not row-major

  InputSpec(Shape shape, DType dtype = f64) : shape(shape), dtype(dtype) {}
};
using InputSpecs = std::vector<InputSpec>;

/// Short words for inputs, to be used in `samples()`.
namespace sample {
inline InputSpec filled(Shape shape, InputSpec::Fill fill, DType dtype = f64, double scale = 1,
                        double shift = 0) {
  InputSpec s(shape, dtype);
  s.fill = fill;
  s.scale = scale;
  s.shift = shift;
  return s;
}
inline InputSpec strided(Shape shape, DType dtype = f64) {
  InputSpec s(shape, dtype);
  s.transposed = true;
  return s;
}
inline InputSpec scaled(Shape shape, double scale, double shift = 0) {
  return filled(shape, InputSpec::normal, f64, scale, shift);
}
inline InputSpec positive(Shape shape) { return filled(shape, InputSpec::positive); }
inline InputSpec unit(Shape shape) { return filled(shape, InputSpec::unit); }
inline InputSpec distinct(Shape shape, DType dtype = f64) {
  return filled(shape, InputSpec::distinct, dtype);
}
inline InputSpec mask(Shape shape) { return filled(shape, InputSpec::mask, boolean); }
inline InputSpec index(Shape shape, int64_t below) {
  return filled(shape, InputSpec::index, i64, double(below));
}
inline InputSpec listed(Shape shape, std::vector<double> values, DType dtype = f64) {
  InputSpec s = filled(shape, InputSpec::listed, dtype);
  s.values = std::move(values);
  return s;
}
inline InputSpec absent() { return filled({}, InputSpec::absent); }
}  // namespace sample

/// One call of an op, good or bad.
struct Sample {
  std::shared_ptr<void> op;  ///< a copy of the record
  InputSpecs in;
  std::string error;     ///< bad samples: the exact text
  bool gradient = true;  ///< false at kinks and for extreme values
};

/// What a record's `samples()` returns.
template <class O>
struct Samples {
  struct Ok {
    O op;
    InputSpecs in;
    bool gradient = true;
  };
  struct Bad {
    O op;
    InputSpecs in;
    std::string message;
  };
  std::vector<Ok> ok;
  std::vector<Bad> errors;
};

/// The same with the type erased.
struct SampleSet {
  std::vector<Sample> samples;
};

}  // namespace tandem
