#pragma once
#include "tandem/core/by_name.h"
#include "tandem/nn/module.h"

namespace tandem::nn {

/// One number for both axes of a picture, or (height, width).
struct Pair {
  int64_t h, w;
  Pair(std::integral auto both) : h(int64_t(both)), w(int64_t(both)) {}
  Pair(std::integral auto height, std::integral auto width)
      : h(int64_t(height)), w(int64_t(width)) {}
  /// One length or two. Errors: ValueError for others.
  explicit Pair(const Shape& s) : h(0), w(0) {
    require(s.size() == 1 || s.size() == 2, "takes one number or two, got ", s);
    h = s[0];
    w = s.back();
  }
  Shape shape() const { return {h, w}; }
  operator Shape() const { return shape(); }
  friend bool operator==(const Pair&, const Pair&) = default;
};
inline void append(std::string& s, const Pair& p) { s += cat("(", p.h, ", ", p.w, ")"); }

/// Zeros around a picture: a number, (height, width), "valid" (none) or "same" (the output is as
/// large as the input; stride 1 only).
struct Padding {
  Pair size = 0;
  bool same = false;
  Padding(std::integral auto both) : size(both) {}
  Padding(std::integral auto height, std::integral auto width) : size(height, width) {}
  Padding(Pair p) : size(p) {}
  /// Errors: ValueError for other words.
  Padding(const char* word) : same(std::string_view(word) == "same") {
    require(same || std::string_view(word) == "valid", "padding=\"", word,
            "\": must be same or valid");
  }
};
inline void append(std::string& s, const Padding& p) {
  if (p.same) s += "same";
  else append(s, p.size);
}

struct Conv1dOptions {
  ByName by_name = ByName();
  int64_t stride = 1;
  Padding padding = 0;
  int64_t dilation = 1, groups = 1;
  bool bias = true;
  std::string padding_mode = "zeros";  ///< or "reflect", "replicate", "circular"
};
/// Cross-correlation along one axis: x [N, in, L] or [in, L], weight [out, in / groups, k]. Starts
/// as U(-k, k), k = 1 / sqrt(fan_in). Errors: ValueError when groups do not divide the channels.
struct TANDEM_API Conv1d : Module<Conv1d> {
  int64_t in_channels, out_channels, kernel_size, stride;
  Padding padding;
  int64_t dilation, groups;
  std::string padding_mode;
  Tensor weight, bias;

  Conv1d(int64_t in_channels, int64_t out_channels, int64_t kernel_size, Conv1dOptions o = {});
  static constexpr auto fields = Fields{
      field("in_channels", &Conv1d::in_channels), field("out_channels", &Conv1d::out_channels),
      field("kernel_size", &Conv1d::kernel_size), field("stride", &Conv1d::stride),
      field("padding", &Conv1d::padding),         field("dilation", &Conv1d::dilation),
      field("groups", &Conv1d::groups),           field("padding_mode", &Conv1d::padding_mode),
      field("weight", &Conv1d::weight),           field("bias", &Conv1d::bias)};
  Tensor forward(const Tensor& x) const;
};

struct Conv2dOptions {
  ByName by_name = ByName();
  Pair stride = 1;
  Padding padding = 0;
  Pair dilation = 1;
  int64_t groups = 1;
  bool bias = true;
  std::string padding_mode = "zeros";  ///< or "reflect", "replicate", "circular"
};
/// Cross-correlation over pictures: x [N, in, H, W] or [in, H, W], weight [out, in / groups, kh,
/// kw]. Starts as U(-k, k), k = 1 / sqrt(fan_in). Errors: as Conv1d.
struct TANDEM_API Conv2d : Module<Conv2d> {
  int64_t in_channels, out_channels;
  Pair kernel_size, stride;
  Padding padding;
  Pair dilation;
  int64_t groups;
  std::string padding_mode;
  Tensor weight, bias;

  Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel_size, Conv2dOptions o = {});
  static constexpr auto fields = Fields{
      field("in_channels", &Conv2d::in_channels), field("out_channels", &Conv2d::out_channels),
      field("kernel_size", &Conv2d::kernel_size), field("stride", &Conv2d::stride),
      field("padding", &Conv2d::padding),         field("dilation", &Conv2d::dilation),
      field("groups", &Conv2d::groups),           field("padding_mode", &Conv2d::padding_mode),
      field("weight", &Conv2d::weight),           field("bias", &Conv2d::bias)};
  Tensor forward(const Tensor& x) const;
};

struct ConvTranspose2dOptions {
  ByName by_name = ByName();
  Pair stride = 1, padding = 0, output_padding = 0;
  int64_t groups = 1;
  bool bias = true;
  Pair dilation = 1;
};
/// The transpose of Conv2d: x [N, in, H, W], weight [in, out / groups, kh, kw]; the output is
/// (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1 high. Errors: as Conv1d.
struct TANDEM_API ConvTranspose2d : Module<ConvTranspose2d> {
  int64_t in_channels, out_channels;
  Pair kernel_size, stride, padding, output_padding;
  int64_t groups;
  Pair dilation;
  Tensor weight, bias;

  ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel_size,
                  ConvTranspose2dOptions o = {});
  static constexpr auto fields = Fields{field("in_channels", &ConvTranspose2d::in_channels),
                                        field("out_channels", &ConvTranspose2d::out_channels),
                                        field("kernel_size", &ConvTranspose2d::kernel_size),
                                        field("stride", &ConvTranspose2d::stride),
                                        field("padding", &ConvTranspose2d::padding),
                                        field("output_padding", &ConvTranspose2d::output_padding),
                                        field("groups", &ConvTranspose2d::groups),
                                        field("dilation", &ConvTranspose2d::dilation),
                                        field("weight", &ConvTranspose2d::weight),
                                        field("bias", &ConvTranspose2d::bias)};
  Tensor forward(const Tensor& x) const;
};

}  // namespace tandem::nn
