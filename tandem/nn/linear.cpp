#include "tandem/nn/linear.h"

#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/nn/init.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/embedding.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"

namespace tandem::nn {

void detail::start_weight(const Tensor& weight, const Tensor& bias) {
  const int64_t fan = init::calculate_fan(weight).in;
  const double k = fan ? 1 / std::sqrt(double(fan)) : 0;
  init::uniform_(weight, -k, k);
  if (bias.defined()) init::uniform_(bias, -k, k);
}

Linear::Linear(int64_t in_features, int64_t out_features, LinearOptions options)
    : in_features(in_features),
      out_features(out_features),
      weight(parameter(empty({out_features, in_features}))) {
  if (options.bias) bias = parameter(empty({out_features}));
  reset_parameters();
}
void Linear::reset_parameters() { detail::start_weight(weight, bias); }
Tensor Linear::forward(const Tensor& x) const { return linear(x, weight, bias); }

Tensor Flatten::forward(const Tensor& x) const { return flatten(x, int(start_dim), int(end_dim)); }

Embedding::Embedding(int64_t num_embeddings, int64_t embedding_dim, EmbeddingOptions options)
    : num_embeddings(num_embeddings),
      embedding_dim(embedding_dim),
      padding_idx(options.padding_idx),
      weight(parameter(empty({num_embeddings, embedding_dim}))) {
  if (padding_idx) {
    const int64_t i = *padding_idx, n = num_embeddings;
    require<IndexError>(i >= -n && i < n, "Embedding(padding_idx=", i, "): out of range [", -n,
                        ", ", n - 1, "]");
    padding_idx = i < 0 ? i + n : i;
  }
  init::normal_(weight);
  if (padding_idx) init::zeros_(select(weight.detach(), 0, *padding_idx));
}
Tensor Embedding::forward(const Tensor& x) const { return embedding(x, weight, padding_idx); }

Dropout::Dropout(double p) : p(p) {
  require(p >= 0 && p <= 1, "Dropout(p=", p, "): p must be in [0, 1]");
}
Tensor Dropout::forward(const Tensor& x) const { return dropout(x, p, is_training()); }

}  // namespace tandem::nn
