#pragma once
#include "tandem/core/by_name.h"
#include "tandem/nn/module.h"

namespace tandem::nn {

struct LinearOptions {
  ByName by_name = ByName();
  bool bias = true;
};

/// y = x weight^T + bias: x [..., in_features], weight [out_features, in_features]. Starts as
/// U(-k, k), k = 1 / sqrt(in_features).
struct TANDEM_API Linear : Module<Linear> {
  int64_t in_features, out_features;
  Tensor weight, bias;  ///< bias is undefined without one

  Linear(int64_t in_features, int64_t out_features, LinearOptions options = {});
  static constexpr auto fields = Fields{
      field("in_features", &Linear::in_features), field("out_features", &Linear::out_features),
      field("weight", &Linear::weight), field("bias", &Linear::bias)};
  Tensor forward(const Tensor& x) const;
  /// Draws new starting values.
  void reset_parameters();
};

/// Gives its input back.
struct TANDEM_API Identity : Module<Identity> {
  static constexpr Fields<> fields{};
  Tensor forward(const Tensor& x) const { return x; }
};

/// Merges the axes start_dim..end_dim into one; by default all but the batch.
struct TANDEM_API Flatten : Module<Flatten> {
  int64_t start_dim, end_dim;

  explicit Flatten(int64_t start_dim = 1, int64_t end_dim = -1)
      : start_dim(start_dim), end_dim(end_dim) {}
  static constexpr auto fields =
      Fields{field("start_dim", &Flatten::start_dim), field("end_dim", &Flatten::end_dim)};
  Tensor forward(const Tensor& x) const;
};

struct EmbeddingOptions {
  ByName by_name = ByName();
  std::optional<int64_t> padding_idx = {};  ///< its row starts as zeros and gets no gradient
};

/// Rows of weight [num_embeddings, embedding_dim] by number: x integers of any shape, y
/// [..., embedding_dim]. Starts as N(0, 1). Errors: IndexError for numbers out of range.
struct TANDEM_API Embedding : Module<Embedding> {
  int64_t num_embeddings, embedding_dim;
  std::optional<int64_t> padding_idx;
  Tensor weight;

  Embedding(int64_t num_embeddings, int64_t embedding_dim, EmbeddingOptions options = {});
  static constexpr auto fields =
      Fields{field("num_embeddings", &Embedding::num_embeddings),
             field("embedding_dim", &Embedding::embedding_dim),
             field("padding_idx", &Embedding::padding_idx), field("weight", &Embedding::weight)};
  Tensor forward(const Tensor& x) const;
};

/// Zeros elements with probability p while training, and scales the others by 1 / (1 - p).
struct TANDEM_API Dropout : Module<Dropout> {
  double p;

  /// Errors: ValueError unless 0 <= p <= 1.
  explicit Dropout(double p = 0.5);
  static constexpr auto fields = Fields{field("p", &Dropout::p)};
  Tensor forward(const Tensor& x) const;
};

namespace detail {
/// U(-k, k) for a weight [out, in, ...] and its bias, k = 1 / sqrt(fan_in): PyTorch's start of
/// linear and convolution layers.
void start_weight(const Tensor& weight, const Tensor& bias);
}  // namespace detail

}  // namespace tandem::nn
