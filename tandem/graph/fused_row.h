#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tandem/op/op.h"

namespace tandem::graph {

/// Records that work on rows, with elementwise ones before and behind them, run as one node: some
/// rows at a time, so that what lies between the records never leaves the caches. The instructions
/// are records with their attributes. Those that work on rows run their own kernels on the rows;
/// elementwise ones between them run as a FusedPoint. So the numbers are those of the separate
/// records, bit for bit.
///
/// Operands are numbered: the inputs first, then the instructions' results in order.
struct FusedRow {
  /// How much of a value belongs to some rows.
  enum class Form : uint8_t {
    rows,    ///< `length` elements a row
    column,  ///< one element a row
    whole,   ///< all of it: a row, a number, or a key
    sum      ///< results only: a sum over all rows
  };
  struct Value {
    Spec spec;
    Form form;
  };
  struct Instruction {
    const OpInfo* info;
    std::shared_ptr<void> op;
    std::vector<int> operands;  ///< -1: an optional one that was left out
    std::vector<Value> results;
  };
  int64_t rows = 0, length = 0;
  std::vector<Value> inputs;
  std::vector<Instruction> program;
  std::vector<int> outputs;  ///< operands that are results of the whole

  static constexpr int max_inputs = 24, max_instructions = 48, max_outputs = 8;
  static constexpr int64_t max_length = 8192;
};

/// How many of the last axes of its first input, of shape `x`, are a row to the record; 0: none, as
/// of all 0-d tensors.
inline int row_axes(const OpInfo& info, const void* op, const Shape& x) {
  return info.row_axes && x.size() > 0 ? info.row_axes(op, x.size()) : 0;
}

/// The row of the record with so many outputs; as fused_point's it is not in the op table.
TANDEM_API const OpInfo& fused_row_info(int outputs);
/// The attributes; null for a program beyond the limits of FusedRow or of the stack of a thread.
TANDEM_API std::shared_ptr<void> make_fused_row(FusedRow program);
TANDEM_API bool is_fused_row(const OpInfo& info);
/// "16 rows of 256 at a time, jit avx512": what runs the program.
TANDEM_API std::string fused_row_engine(const void* op);

}  // namespace tandem::graph
