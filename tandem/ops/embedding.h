#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// Rows of `weight` [rows, width] named by `index` (i64 or i32): index.shape + [width]. The row
/// `padding_idx` (negative counts from the end) gets no gradient.
struct Embedding {
  static constexpr std::string_view name = "embedding";
  static constexpr std::string_view inputs = "index, weight";
  static constexpr OnnxRule onnx{"Gather", 13};
  static constexpr Saves saves{.in = {0}, .out = {}};

  std::optional<int64_t> padding_idx = {};
  static constexpr auto fields = Fields{field("padding_idx", &Embedding::padding_idx)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Embedding> samples();
};

/// Adds the rows of `dy` up at their indices: [rows, width].
struct EmbeddingGrad {
  static constexpr std::string_view name = "embedding_grad";
  static constexpr std::string_view inputs = "dy, index";
  static constexpr Saves saves{.in = {1}, .out = {}};

  Length rows = 0;
  std::optional<int64_t> padding_idx = {};
  static constexpr auto fields = Fields{field("rows", &EmbeddingGrad::rows),
                                        field("padding_idx", &EmbeddingGrad::padding_idx)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<EmbeddingGrad> samples();
};

inline Tensor embedding(const Tensor& index, const Tensor& weight,
                        std::optional<int64_t> padding_idx = {}) {
  return apply(Embedding{.padding_idx = padding_idx}, {index, weight});
}

}  // namespace tandem
