#pragma once
// What turns a program into bytes. Apart from jit.h, so that it can be left out.
#include <vector>

#include "tandem/graph/jit.h"

namespace tandem::graph {

/// Position-independent functions of type Jit::Fn; empty when they could not be made.
struct MachineCode {
  std::vector<char> bytes;
  size_t plain = 0, streaming = 0;  ///< offsets of the functions
};
MachineCode generate(const lanes::Program& program, std::span<const Jit::Input> in,
                     std::span<const DType> out, bool streaming, cpu::Isa isa);

}  // namespace tandem::graph
