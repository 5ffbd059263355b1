#pragma once
#include "tandem/graph/ir.h"

// Passes change a graph and keep what it computes. Each says what it does to the numbers.

namespace tandem::graph {

/// Throws Error with the node and the rule that it breaks: values defined once and before their
/// use, specs that the record infers, the right number of inputs and outputs.
TANDEM_API void verify(const Graph& graph);

/// Drops nodes whose results nobody needs. Exact.
TANDEM_API void eliminate_dead_code(Graph& graph);
/// Equal records on equal inputs run once. Exact.
TANDEM_API void eliminate_common_subexpressions(Graph& graph);
/// Runs nodes whose inputs are constants. Exact.
TANDEM_API void fold_constants(Graph& graph);
/// Nodes that change nothing go: casts to the own type, copies over a whole tensor, products with
/// one, sums with zero, reshapes to the own shape. Exact (x + 0 maps -0 to 0, x * 1 is exact).
TANDEM_API void simplify(Graph& graph);
/// Convolutions by weights that a run does not write to become `fused_conv2d` in blocks of channels
/// (graph/conv_records.h), with the batch normalisation by running statistics, the sum and the
/// activation that alone read them, as far as they have such. Pooling, elementwise nodes and `cat`
/// between them stay in blocks; the rest sees row-major values. Not exact: the weight is scaled
/// instead of the result, sums run in another order, Winograd's (where it is the faster) has a
/// relative error of about 1e-6.
TANDEM_API void block_convolutions(Graph& graph);
/// Batch normalisation that trains takes in the sum and the relu that alone read it, and its
/// gradient the relu_grad that it alone reads: one pass over memory instead of two or three. Exact:
/// the arithmetic is the same.
TANDEM_API void fuse_batch_norm(Graph& graph);
/// A relu in front of max pooling goes behind it, and its gradient in front of the pooling's, where
/// there is less to do. Exact but for the sign of zeros; the places of maxima below zero, whose
/// gradients are zero, may be others.
TANDEM_API void sink_relu(Graph& graph);
/// A sum over the planes that max pooling's gradient fills is that of what it puts there: a quarter
/// of the elements or less, for the gradient of a convolution's bias. Not exact: another order.
TANDEM_API void sum_before_unpooling(Graph& graph);
/// A sum of parts that lie beside each other in zeros, as the gradients of a split tensor are,
/// becomes one `cat`. Exact but for the sign of zeros.
TANDEM_API void join_scattered(Graph& graph);
/// Batch normalisation by running statistics, where elementwise nodes read it, becomes a product
/// and a sum a channel, so that fuse_points makes one pass of it and of what follows. Not exact:
/// x s + (b - m s) for (x - m) s + b, which differ by some roundings.
TANDEM_API void lower_batch_norm(Graph& graph);
/// Chains and webs of elementwise nodes over one shape become one node each, which passes over
/// memory once (see FusedPoint). Views, reductions and single nodes stay as they are; nothing is
/// computed twice. Exact: the kernels are the same.
TANDEM_API void fuse_points(Graph& graph);
/// Attention written out, matmul(softmax(matmul(q, k^T) scale + mask), v), becomes the record that
/// keeps no scores, where nothing else reads them (a gradient does); nll_loss of log_softmax and
/// their gradients become cross_entropy and its. Not exact: other roundings.
TANDEM_API void fuse_patterns(Graph& graph);
/// A linear, matmul, conv2d or conv2d_input_grad node and the elementwise node that is the first to
/// read it become one, which works on rows of the product while they are in a cache (see
/// FusedProduct). Exact when `deterministic`; else a product's sums may be rounded in another
/// order.
TANDEM_API void fuse_products(Graph& graph, bool deterministic);
/// Records that work on the last axes (softmax, layer_norm, their gradients, sums, means, ...) and
/// the elementwise nodes and dropouts before and behind them become one node, which works on some
/// rows while they are in a cache (see FusedRow). Exact: the kernels are the same. Behind
/// fuse_points and fuse_products, whose nodes it takes in or leaves.
TANDEM_API void fuse_rows(Graph& graph);

/// All of them, verified after each in builds with assertions; the exact ones alone when
/// `deterministic`.
TANDEM_API void optimize(Graph& graph, bool deterministic);
/// Instead, for a plan that watches gradients: the nodes as recorded, but for dead ones.
TANDEM_API void make_watchable(Graph& graph);

}  // namespace tandem::graph
