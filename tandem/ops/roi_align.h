#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// Boxes cut out of feature maps by bilinear sampling (He et al., Mask R-CNN, arXiv 1703.06870):
/// x[n, c, h, w], boxes[k, 4] as (x1, y1, x2, y2) in units of 1 / spatial_scale, and the image that
/// each is from, batch[k], give [k, c, height, width]. Each bin is the mean, or with `largest` the
/// largest product of weight and value, of sampling_ratio^2 points (0: as many as pixels). With
/// `half_pixel` pixel centres lie at half numbers; without, boxes are at least a pixel long.
/// Errors: ShapeError, DTypeError, IndexError.
struct RoiAlign {
  static constexpr std::string_view name = "roi_align";
  static constexpr std::string_view inputs = "x, boxes, batch";
  static constexpr std::string_view not_differentiable = "it is made for models that are only run";

  int64_t height = 1, width = 1, sampling_ratio = 0;
  double spatial_scale = 1;
  bool largest = false, half_pixel = true;
  static constexpr auto fields = Fields{field("height", &RoiAlign::height),
                                        field("width", &RoiAlign::width),
                                        field("sampling_ratio", &RoiAlign::sampling_ratio),
                                        field("spatial_scale", &RoiAlign::spatial_scale),
                                        field("largest", &RoiAlign::largest),
                                        field("half_pixel", &RoiAlign::half_pixel)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<RoiAlign> samples();
};

inline Tensor roi_align(const Tensor& x, const Tensor& boxes, const Tensor& batch,
                        const RoiAlign& how) {
  return apply(RoiAlign(how), {x, boxes, batch});
}

}  // namespace tandem
