#pragma once

namespace tandem {

/// The first member of every struct of options. It takes no value, so that options are given by
/// name: `{.stride = 2}` compiles, `{2}` and `{2, 1}` do not.
struct ByName {
  explicit constexpr ByName() = default;
};

}  // namespace tandem
