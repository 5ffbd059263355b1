#pragma once
#include <tuple>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/data/random.h"

// Functions from an image to an image, [height, width] or [channels, height, width]. Those that
// draw take a Random, which a DataLoader seeds for each sample: the same result for any thread
// count.

namespace tandem::data {

/// u8 0..255 to f32 0..1, as torchvision's ToTensor; other dtypes are converted to f32 unscaled.
struct TANDEM_API ToFloat {
  Tensor operator()(const Tensor& image) const;
};

/// (x - mean[c]) / std[c] for each channel c of an f32 image; one value serves all channels.
/// Errors: DTypeError; ShapeError when the number of channels differs; ValueError for std = 0.
struct TANDEM_API Normalize {
  std::vector<float> mean, std;
  Tensor operator()(const Tensor& image) const;
};

/// Left and right exchanged with probability p.
struct TANDEM_API RandomHorizontalFlip {
  double p = 0.5;
  Tensor operator()(const Tensor& image, Random& random) const;
};

/// A random window of the image, which first gets `padding` zeros on each side.
/// Errors: ShapeError when the window does not fit.
struct TANDEM_API RandomCrop {
  int64_t height, width;
  int64_t padding = 0;
  Tensor operator()(const Tensor& image, Random& random) const;
};

/// Several functions, one after the other; each takes a tensor, or a tensor and a Random.
template <class... F>
struct Compose {
  std::tuple<F...> functions;
  Tensor operator()(Tensor image, Random& random) const {
    const auto one = [&](const auto& f) {
      if constexpr (std::is_invocable_v<decltype(f), const Tensor&, Random&>)
        image = f(image, random);
      else image = f(image);
    };
    std::apply([&](const F&... f) { (one(f), ...); }, functions);
    return image;
  }
};
template <class... F>
Compose<F...> compose(F... functions) {
  return {{std::move(functions)...}};
}

}  // namespace tandem::data
