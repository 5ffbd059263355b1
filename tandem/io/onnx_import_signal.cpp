// ONNX's operators on signals, as records.
#include <cmath>
#include <numbers>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/cumprod.h"
#include "tandem/ops/cumsum.h"
#include "tandem/ops/dft.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

constexpr int64_t most_points = 1 << 24;

/// Cut off or filled up with zeros at the end of an axis.
Tensor of_length(Tensor x, int axis, int64_t length) {
  if (x.size(axis) >= length) return slice(x, axis, 0, length);
  Shape more;
  for (int a = x.dim() - 1; a > axis; --a) more.push_back(0), more.push_back(0);
  more.push_back(0), more.push_back(length - x.size(axis));
  return pad(x, more);
}
/// Real numbers with imaginary parts beside them.
Tensor as_complex(const Tensor& x) {
  return x.size(-1) == 2 ? x : cat({x, zeros(x.shape(), x.dtype())}, -1);
}

Tensors dft_(I& n) {
  Tensor x = n.in(0);
  n.need(x.dim() > 1 && (x.size(-1) == 1 || x.size(-1) == 2), "input 0 has shape ", x.shape());
  const int64_t given = n.opset() < 20 ? n.integer("axis", 1)
                        : n.has(2)     ? n.whole_number(2)
                                       : int64_t(-2);
  const int axis = axis_of(n, given, x.dim());
  n.need(axis < x.dim() - 1, "axis ", given, " holds real and imaginary parts");
  const bool inverse = n.flag("inverse", false), onesided = n.flag("onesided", false);
  const int64_t have = x.size(axis);
  const int64_t length = n.has(1) ? n.whole_number(1) : inverse && onesided ? 2 * (have - 1) : have;
  n.need(length > 0 && length < most_points, "dft_length=", length);
  if (!inverse || !onesided)
    return {dft(as_complex(of_length(x, axis, length)),
                {.axis = axis, .inverse = inverse, .onesided = onesided})};
  // Half of the frequencies say what the others are: those of a real signal.
  const int64_t half = length / 2 + 1;
  x = as_complex(of_length(x, axis, half));
  const Tensor others = flip(slice(x, axis, 1, length - half + 1), {axis});
  const Tensor real = slice(others, -1, 0, 1), imaginary = slice(others, -1, 1, 2);
  const Tensor all = cat({x, cat({real, imaginary * -1.0}, -1)}, axis);
  return {slice(dft(all, {.axis = axis, .inverse = true}), -1, 0, 1)};
}

/// The transforms of stretches of a signal.
Tensors stft(I& n) {
  const Tensor x = n.in(0);
  n.need(x.dim() == 3 && (x.size(2) == 1 || x.size(2) == 2), "a signal of shape ", x.shape());
  const int64_t step = n.whole_number(1);
  n.need(n.has(2) || n.has(3), "a window or frame_length is needed");
  const int64_t length = n.has(3) ? n.whole_number(3) : int64_t(n.in(2).numel());
  n.need(step > 0 && length > 0 && length <= x.size(1), "frames of ", length, ", ", step,
         " apart, of a signal of ", x.size(1));
  Tensor frames = permute(unfold(x, 1, length, step), {0, 1, 3, 2});  // [batch, frames, length, 1]
  if (n.has(2)) {
    n.need(n.in(2).numel() == length, "a window of ", n.in(2).numel(), " for frames of ", length);
    frames = frames * reshape(n.in(2), {length, 1});
  }
  const bool onesided = n.flag("onesided", true) && x.size(2) == 1;
  return {dft(as_complex(frames), {.axis = 2, .onesided = onesided})};
}

/// c0 + c1 cos(2 pi i / N) + c2 cos(4 pi i / N)
template <int kind>
Tensors window(I& n) {
  constexpr double terms[][3] = {{0.5, -0.5, 0}, {25.0 / 46, -21.0 / 46, 0}, {0.42, -0.5, 0.08}};
  const int64_t size = n.whole_number(0);
  n.need(size >= 0 && size < most_points, "a window of ", size);
  const double period = double(n.flag("periodic", true) ? size : size - 1);
  std::vector<double> all;
  for (int64_t i = 0; i < size; ++i) {
    const double angle = period > 0 ? 2 * std::numbers::pi * double(i) / period : 0;
    all.push_back(terms[kind][0] + terms[kind][1] * std::cos(angle) +
                  terms[kind][2] * std::cos(2 * angle));
  }
  return {cast(wrap(std::move(all), {size}), dtype_of(n, n.integer("output_datatype", 1)))};
}

/// How much each frequency of a spectrum counts in bands that are even on the mel scale.
Tensors mel_weights(I& n) {
  const int64_t bands = n.whole_number(0), length = n.whole_number(1), rate = n.whole_number(2);
  const double low = n.number(3), high = n.number(4);
  n.need(bands > 0 && bands < (1 << 16) && length > 0 && length < most_points && rate > 0 &&
             low >= 0 && high >= low && high <= 1e9,
         "num_mel_bins=", bands, ", dft_length=", length, ", sample_rate=", rate);
  auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double first = mel(low), step = (mel(high) - first) / double(bands + 2);
  const int64_t rows = length / 2 + 1;
  n.need(rows * bands < most_points, "too many weights");
  std::vector<int64_t> edges;
  for (int64_t i = 0; i < bands + 2; ++i) {
    const double hertz = 700 * (std::pow(10.0, (double(i) * step + first) / 2595) - 1);
    edges.push_back(int64_t(std::floor(double(length + 1) * hertz / double(rate))));
    n.need(edges.back() >= 0 && edges.back() < rows, "edges beyond the spectrum");
  }
  std::vector<double> all(size_t(rows * bands), 0);
  for (int64_t b = 0; b < bands; ++b) {
    const int64_t left = edges[size_t(b)], middle = edges[size_t(b) + 1],
                  right = edges[size_t(b) + 2];
    auto weight = [&](int64_t row) -> double& { return all[size_t(row * bands + b)]; };
    if (middle == left) weight(middle) = 1;
    for (int64_t j = left; middle > left && j <= middle; ++j)
      weight(j) = double(j - left) / double(middle - left);
    for (int64_t j = middle; j < right; ++j) weight(j) = double(right - j) / double(right - middle);
  }
  return {cast(wrap(std::move(all), {rows, bands}), dtype_of(n, n.integer("output_datatype", 1)))};
}

// --- Running sums and products ------------------------------------------------------------------

/// f along an axis; without the element itself, or from the end, where the node says so.
template <Tensor (*f)(const Tensor&, int64_t), int first>
Tensors running(I& n) {
  Tensor x = n.in(0);
  const int axis = axis_of(n, n.whole_number(1), x.dim());
  const bool reverse = n.flag("reverse", false);
  if (reverse) x = flip(x, {axis});
  if (n.flag("exclusive", false) && x.size(axis) > 0) {
    Shape one = x.shape();
    one[axis] = 1;
    x = cat({full(one, first, x.dtype()), slice(x, axis, 0, x.size(axis) - 1)}, axis);
  }
  const Tensor y = cast(f(x, axis), x.dtype());
  return {reverse ? flip(y, {axis}) : y};
}

}  // namespace

void add_signal_imports(OnnxImports& t) {
  t.insert({{"DFT", dft_},
            {"STFT", stft},
            {"HannWindow", window<0>},
            {"HammingWindow", window<1>},
            {"BlackmanWindow", window<2>},
            {"MelWeightMatrix", mel_weights},
            {"CumSum", running<cumsum, 0>},
            {"CumProd", running<cumprod, 1>}});
}

}  // namespace tandem::detail
