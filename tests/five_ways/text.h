#pragma once
// Programs as C++ that one can compile.
#include <string>

#include "tests/five_ways/ways.h"

namespace tandem::five_ways {

/// A whole program that shows the difference: its first lines say what differs.
std::string cpp_text(const Program& p, const Difference& d);

/// The statements of steps, each line behind `indent`.
std::string cpp_steps(const std::vector<Step>& steps, const std::string& indent);
/// An attribute's value.
std::string cpp_value(const FieldValue& v);
std::string cpp_shape(const Shape& s);
/// What makes the layer of a step.
std::string cpp_layer(const Step& s);

}  // namespace tandem::five_ways
