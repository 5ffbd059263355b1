#pragma once
#include <memory>

#include "tandem/backend/cpu/rows_done.h"
#include "tandem/op/op.h"

namespace tandem::graph {

/// A product or convolution and the elementwise records behind it, which run on its rows as soon as
/// they are final: linear + relu, or the gradient's product + relu_grad. The records' own kernels
/// compute both, so the numbers are those of the separate nodes, bit for bit when `same_kernel`;
/// else the product may take a kernel that gives rows early and rounds its sums in another order.
///
/// Inputs: the product's, then those of the program but its input `at`, which is the product's
/// result. Outputs: that result, when `keeps` says that others need it, then the program's.
struct FusedProduct {
  const OpInfo* info;
  std::shared_ptr<void> op;
  int inputs;                    ///< of the product
  std::shared_ptr<void> points;  ///< attributes of a fused_point
  int at;
  bool keeps, same_kernel;
};

/// Records that a fused_product may hold: linear, matmul, conv2d, conv2d_input_grad.
bool is_product(const OpInfo& info);
/// Whether a record tells when rows of its first result are final: those and linear_grad.
TANDEM_API bool gives_rows(const OpInfo& info);
/// Runs such a record.
TANDEM_API void run_rows(const OpInfo& info, const void* op, Inputs in, Outputs out,
                         const cpu::RowsDone& done);

/// The row of the record with so many outputs; as fused_point's it is not in the op table.
TANDEM_API const OpInfo& fused_product_info(int outputs);
/// The attributes; null when the program has no place for the product's result: one that is not
/// kept must fit into a result of the program that is written after its last use.
TANDEM_API std::shared_ptr<void> make_fused_product(FusedProduct product);
TANDEM_API const FusedProduct& fused_product_of(const void* op);

}  // namespace tandem::graph
