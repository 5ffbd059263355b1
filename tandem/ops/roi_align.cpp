#include "tandem/ops/roi_align.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(RoiAlign)
namespace {

/// Where a point lies among four pixels, and what they weigh.
struct Point {
  int64_t at[4] = {0, 0, 0, 0};
  double weight[4] = {0, 0, 0, 0};
};

Point point_at(double y, double x, int64_t height, int64_t width) {
  Point p;
  if (!(y >= -1 && y <= double(height) && x >= -1 && x <= double(width))) return p;
  y = std::max(y, 0.0), x = std::max(x, 0.0);
  const int64_t top = std::min(int64_t(y), height - 1), left = std::min(int64_t(x), width - 1);
  const int64_t bottom = std::min(top + 1, height - 1), right = std::min(left + 1, width - 1);
  const double ly = top == height - 1 ? 0 : y - double(top);
  const double lx = left == width - 1 ? 0 : x - double(left);
  const int64_t at[] = {top * width + left, top * width + right, bottom * width + left,
                        bottom * width + right};
  const double weight[] = {(1 - ly) * (1 - lx), (1 - ly) * lx, ly * (1 - lx), ly * lx};
  std::copy_n(at, 4, p.at);
  std::copy_n(weight, 4, p.weight);
  return p;
}

/// The sampling points of a box, bin by bin.
struct Grid {
  int64_t each = 0;  ///< points in a bin
  std::vector<Point> points;

  template <class T>
  Grid(const RoiAlign& op, const T* box, int64_t h, int64_t w) {
    const double offset = op.half_pixel ? 0.5 : 0;
    double begin[2], size[2];  // y, x
    int64_t count[2];
    for (int k = 0; k < 2; ++k) {
      begin[k] = double(box[1 - k]) * op.spatial_scale - offset;
      size[k] = double(box[3 - k]) * op.spatial_scale - offset - begin[k];
      if (!op.half_pixel) size[k] = std::max(size[k], 1.0);
      size[k] /= double(k ? op.width : op.height);
      check(std::abs(size[k]) < 1e6 && std::abs(begin[k]) < 1e12, op, "a box of ", double(box[0]),
            ", ", double(box[1]), ", ", double(box[2]), ", ", double(box[3]));
      count[k] = op.sampling_ratio > 0 ? op.sampling_ratio
                                       : std::max<int64_t>(0, int64_t(std::ceil(size[k])));
    }
    each = count[0] * count[1];
    check(each * op.height * op.width <= most_points, op, "a box of more than ", most_points,
          " points");
    for (int64_t i = 0; i < op.height; ++i)
      for (int64_t j = 0; j < op.width; ++j)
        for (int64_t y = 0; y < count[0]; ++y)
          for (int64_t x = 0; x < count[1]; ++x)
            points.push_back(point_at(
                begin[0] + (double(i) + (double(y) + 0.5) / double(count[0])) * size[0],
                begin[1] + (double(j) + (double(x) + 0.5) / double(count[1])) * size[1], h, w));
  }
  static constexpr int64_t most_points = int64_t(1) << 26;
};

template <class T>
T bin(const T* plane, const Point* points, int64_t n, bool largest) {
  double sum = 0, top = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < n; ++i)
    for (int k = 0; k < 4; ++k) {
      const double v = points[i].weight[k] * double(plane[points[i].at[k]]);
      sum += v;
      top = std::max(top, v);
    }
  if (largest) return T(n ? top : 0);
  return T(sum / double(std::max<int64_t>(n, 1)));
}

template <class T>
void align(const RoiAlign& op, const Tensor& x, const T* boxes, const int64_t* batch, Tensor& y) {
  const Shape& s = x.shape();
  const int64_t channels = s[1], plane = s[2] * s[3], bins = op.height * op.width;
  const T* from = x.data<T>();
  T* to = y.data<T>();
  cpu::parallel_for(y.shape()[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const Grid grid(op, boxes + k * 4, s[2], s[3]);
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t b = 0; b < bins; ++b)
          to[(k * channels + c) * bins + b] =
              bin(from + (batch[k] * channels + c) * plane, grid.points.data() + b * grid.each,
                  grid.each, op.largest);
    }
  });
}

}  // namespace

Spec RoiAlign::infer(Specs in) const {
  const Spec &x = in[0], &boxes = in[1], &batch = in[2];
  check<ShapeError>(x.shape.size() == 4 && detail::may_be_less(0, x.shape[2]) &&
                        detail::may_be_less(0, x.shape[3]),
                    *this, "x has shape ", x.shape, ", needs [n, c, h, w]");
  check<ShapeError>(boxes.shape.size() == 2 && detail::may_equal(boxes.shape[1], 4) &&
                        batch.shape.size() == 1 &&
                        detail::may_equal(batch.shape[0], boxes.shape[0]),
                    *this, "boxes of shape ", boxes.shape, " and batch of shape ", batch.shape);
  check<DTypeError>(is_floating(x.dtype) && boxes.dtype == x.dtype && is_integral(batch.dtype),
                    *this, "x is ", x.dtype, ", boxes ", boxes.dtype, " and batch ", batch.dtype);
  check(height > 0 && width > 0 && height < 4096 && width < 4096 && sampling_ratio >= 0 &&
            sampling_ratio < 4096,
        *this, "height, width and sampling_ratio must be positive and below 4096");
  return {Shape{boxes.shape[0], x.shape[1], height, width}, x.dtype, x.device};
}

void RoiAlign::cpu(Inputs in, Outputs out) const {
  const DType d = out[0].dtype(), compute = d == f64 ? f64 : f32;
  const Tensor x = detail::as_contiguous(in[0], compute);
  const Tensor boxes = detail::as_contiguous(in[1], compute);
  const Tensor batch = detail::as_contiguous(in[2], i64);
  for (int64_t i : batch.span<int64_t>())
    check<IndexError>(i >= 0 && i < x.shape()[0], *this, "image ", i, " of ", x.shape()[0]);
  Tensor y = d == compute ? out[0] : empty(out[0].shape(), compute);
  if (compute == f64) align(*this, x, boxes.data<double>(), batch.data<int64_t>(), y);
  else align(*this, x, boxes.data<float>(), batch.data<int64_t>(), y);
  if (d != compute) detail::copy_data(out[0], y);
}

Samples<RoiAlign> RoiAlign::samples() {
  const InputSpec boxes = sample::listed({3, 4}, {0, 0, 4, 3, 1.5, 1, 5.5, 6, -2, -1, 9, 9});
  const InputSpec batch = sample::index({3}, 2);
  return {.ok = {{{.height = 2, .width = 3}, {{{2, 3, 7, 6}}, boxes, batch}},
                 {{.height = 2, .width = 2, .sampling_ratio = 2}, {{{2, 1, 7, 6}}, boxes, batch}},
                 {{.height = 2, .width = 2, .sampling_ratio = 1, .spatial_scale = 0.5},
                  {sample::strided({2, 3, 5, 4}), boxes, batch}},
                 {{.height = 2, .width = 3, .half_pixel = false}, {{{2, 3, 7, 6}}, boxes, batch}},
                 {{}, {{{2, 3, 7, 6}}, {{0, 4}}, {{0}, i64}}}},
          .errors = {{{},
                      {{{3, 7, 6}}, boxes, batch},
                      "roi_align(height=1, width=1, sampling_ratio=0, spatial_scale=1, "
                      "largest=false, half_pixel=true): x has shape [3, 7, 6], needs [n, c, h, w]"},
                     {{},
                      {{{1, 3, 7, 6}}, {{1, 4}}, sample::listed({1}, {1}, i64)},
                      "roi_align(height=1, width=1, sampling_ratio=0, spatial_scale=1, "
                      "largest=false, half_pixel=true): image 1 of 1"}}};
}

}  // namespace tandem
