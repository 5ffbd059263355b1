#include "tandem/data/transforms.h"

#include <algorithm>
#include <cstring>

#include "tandem/op/copy.h"

namespace tandem::data {

namespace {

struct Geometry {
  int64_t channels, height, width;
};
Geometry geometry(const char* who, const Tensor& image) {
  const Shape& s = image.shape();
  require<DeviceError>(image.device() == cpu_device, who, ": the image is on ", image.device(),
                       ", not on the CPU");
  require<ShapeError>(s.size() == 2 || s.size() == 3, who,
                      ": an image is [height, width] or [channels, height, width], got ", s);
  return s.size() == 2 ? Geometry{1, s[0], s[1]} : Geometry{s[0], s[1], s[2]};
}

template <class T>
void mirror(const void* from, void* to, int64_t rows, int64_t width) {
  const T* a = static_cast<const T*>(from);
  T* b = static_cast<T*>(to);
  for (int64_t r = 0; r < rows; ++r)
    std::reverse_copy(a + r * width, a + (r + 1) * width, b + r * width);
}

}  // namespace

Tensor ToFloat::operator()(const Tensor& image) const {
  const Tensor out = tandem::detail::as_contiguous(image, f32);
  if (image.dtype() != u8) return out;
  float* p = out.data<float>();
  for (int64_t i = 0; i < out.numel(); ++i) p[i] /= 255.0f;
  return out;
}

Tensor Normalize::operator()(const Tensor& image) const {
  const Geometry g = geometry("Normalize", image);
  require<DTypeError>(image.dtype() == f32, "Normalize: the image is ", image.dtype(),
                      "; convert it with ToFloat first");
  for (const std::vector<float>* v : {&mean, &std})
    require<ShapeError>(v->size() == 1 || int64_t(v->size()) == g.channels,
                        "Normalize: ", v->size(), " values for ", g.channels, " channels");
  const Tensor in = tandem::detail::as_contiguous(image);
  Tensor out = empty(in.spec());
  const int64_t plane = g.height * g.width;
  for (int64_t c = 0; c < g.channels; ++c) {
    const float m = mean[mean.size() == 1 ? 0 : size_t(c)],
                s = std[std.size() == 1 ? 0 : size_t(c)];
    require(s != 0, "Normalize: std is 0 for channel ", c);
    const float* from = in.data<float>() + c * plane;
    float* to = out.data<float>() + c * plane;
    for (int64_t i = 0; i < plane; ++i) to[i] = (from[i] - m) / s;
  }
  return out;
}

Tensor RandomHorizontalFlip::operator()(const Tensor& image, Random& random) const {
  const Geometry g = geometry("RandomHorizontalFlip", image);
  if (!random.chance(p)) return image;
  const Tensor in = tandem::detail::as_contiguous(image);
  Tensor out = empty(in.spec());
  const int64_t rows = g.channels * g.height;
  switch (itemsize(in.dtype())) {
    case 1: mirror<uint8_t>(in.raw_data(), out.raw_data(), rows, g.width); break;
    case 2: mirror<uint16_t>(in.raw_data(), out.raw_data(), rows, g.width); break;
    case 4: mirror<uint32_t>(in.raw_data(), out.raw_data(), rows, g.width); break;
    default: mirror<uint64_t>(in.raw_data(), out.raw_data(), rows, g.width);
  }
  return out;
}

Tensor RandomCrop::operator()(const Tensor& image, Random& random) const {
  const Geometry g = geometry("RandomCrop", image);
  const int64_t room_y = g.height + 2 * padding - height, room_x = g.width + 2 * padding - width;
  require<ShapeError>(height > 0 && width > 0 && padding >= 0 && room_y >= 0 && room_x >= 0,
                      "RandomCrop(", height, ", ", width, ", padding=", padding,
                      "): the window does not fit an image of ", g.height, " x ", g.width);
  const int64_t top = random.below(room_y + 1) - padding;
  const int64_t left = random.below(room_x + 1) - padding;
  const Tensor in = tandem::detail::as_contiguous(image);
  Shape shape = in.shape();
  shape[shape.size() - 2] = height;
  shape[shape.size() - 1] = width;
  Tensor out = empty(shape, in.dtype());
  const int64_t item = itemsize(in.dtype());
  const int64_t begin = std::clamp<int64_t>(left, 0, g.width);
  const int64_t end = std::clamp<int64_t>(left + width, begin, g.width);
  auto* to = static_cast<char*>(out.raw_data());
  std::memset(to, 0, size_t(out.numel() * item));
  for (int64_t c = 0; c < g.channels; ++c)
    for (int64_t y = 0; y < height; ++y) {
      const int64_t from_y = top + y;
      if (from_y < 0 || from_y >= g.height || end == begin) continue;
      const char* from = static_cast<const char*>(in.raw_data()) +
                         ((c * g.height + from_y) * g.width + begin) * item;
      std::memcpy(to + ((c * height + y) * width + begin - left) * item, from,
                  size_t((end - begin) * item));
    }
  return out;
}

}  // namespace tandem::data
