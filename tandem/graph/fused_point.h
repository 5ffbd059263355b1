#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tandem/op/op.h"

namespace tandem::graph {

/// Elementwise records that run as one, a tile of elements at a time: a straight-line program
/// whose intermediate results never leave the first-level cache. The instructions are records with
/// their attributes and call the records' own kernels, so the numbers are those of the separate
/// records, bit for bit.
///
/// Operands are numbered: the inputs first, then the instructions' results in order. Inputs have
/// the program's shape, or repeat: one value, a row, a column or a channel of it.
struct FusedPoint {
  struct Instruction {
    const OpInfo* info;
    std::shared_ptr<void> op;
    std::vector<int> operands;
    DType dtype;  ///< of the result
  };
  Shape shape;
  std::vector<Spec> inputs;
  std::vector<Instruction> program;
  std::vector<int> outputs;  ///< operands that are results of the whole

  static constexpr int max_inputs = 24, max_instructions = 48, max_outputs = 8;
};

/// How an operand of `shape` is read by a program of shape `whole`: element i of the program uses
/// element (i / inner) % period.
struct Repeats {
  int64_t inner = 1, period = 1;
};
/// False when it does not broadcast to `whole` in that way.
TANDEM_API bool repeats_in(const Shape& shape, const Shape& whole, Repeats& how);
/// Whether machine code takes the operand for a number, which changes from run to run: shorter runs
/// are filled into a tile.
inline bool runs_as_number(const Spec& input, const Repeats& how) {
  return input.dtype == f32 && how.inner >= 256 && how.inner % 16 == 0;
}

/// Whether a node of this record, with these inputs and this result, can be an instruction.
TANDEM_API bool is_point(const OpInfo& info, Specs in, const Spec& out);

/// The row of the record for a program of so many outputs. It is not in the op table: its
/// attributes are a program, which no default and no sample stands for, and its gradient is that of
/// the records it was made from.
TANDEM_API const OpInfo& fused_point_info(int outputs);
/// The attributes; null for a program beyond the limits of FusedPoint, or one that needs more
/// buffers than the stack of a thread is asked for.
TANDEM_API std::shared_ptr<void> make_fused_point(FusedPoint program);
/// The program of a record of `fused_point_info`.
TANDEM_API const FusedPoint& fused_point_of(const void* op);
TANDEM_API bool is_fused_point(const OpInfo& info);
/// Elements [begin, end) of the results, on this thread; all tensors are row-major.
TANDEM_API void run_fused_point(const void* op, Inputs in, Outputs out, int64_t begin, int64_t end);
/// An output that may lie in the memory of whole input `input`, or -1: of its size and shape, and
/// written no earlier than the last instruction that reads the input.
TANDEM_API int place_over(const FusedPoint& program, int input);
/// What runs the program: machine code for "avx512" or "avx2", or "tiles".
TANDEM_API std::string_view fused_point_engine(const void* op);

}  // namespace tandem::graph
