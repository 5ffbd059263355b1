#include "tandem/backend/cpu/conv_repair.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/simd.h"

namespace tandem::cpu {
namespace {

template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
template <class T>
constexpr BitsOf<T> infinity_bits = std::bit_cast<BitsOf<T>>(std::numeric_limits<T>::infinity())
                                    << 1;

/// The largest element without its sign, as bits: NaN is more than infinity, and that than the
/// rest.
template <class T>
TANDEM_FN BitsOf<T> largest_of(const T* x, int64_t n) {
  BitsOf<T> largest = 0;
  for (int64_t i = 0; i < n; ++i)
    largest = std::max<BitsOf<T>>(largest, std::bit_cast<BitsOf<T>>(x[i]) << 1);
  return largest;
}
template <class T>
BitsOf<T> largest_bits(const T* x, int64_t n) {
  BitsOf<T> largest = 0;
  simd([=, &largest] { largest = largest_of(x, n); });
  return largest;
}
template <class T>
bool has_nan(const T* x, int64_t n) {
  return largest_bits(x, n) > infinity_bits<T>;
}

// A sum that is NaN stays so: the rest need not be looked at.
struct Sum {
  double value = 0;
  template <class T>
  bool add(T a, T b) {
    value += static_cast<double>(a) * static_cast<double>(b);
    return value == value;
  }
};

}  // namespace

template <class T>
bool all_finite(const T* x, int64_t n) {
  return largest_bits(x, n) < infinity_bits<T>;
}

template <class T>
ConvRepair<T>::ConvRepair(const ConvShape& s, ConvPass pass, const T* a, const T* w, const T* bias,
                          T* out, const RowsDone& done)
    : s_(s),
      a_(a),
      w_(w),
      bias_(bias),
      out_(out),
      done_(done),
      forward_(pass == ConvPass::forward),
      width_(forward_ ? s.out_w() : s.w) {}

template <class T>
void ConvRepair<T>::look(const void* self, int64_t begin, int64_t end) {
  const auto& r = *static_cast<const ConvRepair*>(self);
  T* rows = r.out_ + begin * r.width_;
  if (has_nan(rows, (end - begin) * r.width_)) {
    for (int64_t i = 0; i < (end - begin) * r.width_; ++i) {
      if (rows[i] != rows[i]) rows[i] = r.window(begin + i / r.width_, i % r.width_);
    }
  }
  r.done_(begin, end);
}

/// The element of the result: the products of what its window holds.
template <class T>
T ConvRepair<T>::window(int64_t row, int64_t column) const {
  const int64_t out_h = s_.out_h(), out_w = s_.out_w();
  const int64_t height = forward_ ? out_h : s_.h, channels = forward_ ? s_.oc : s_.c;
  const int64_t line = row % height, channel = row / height % channels,
                image = row / height / channels;
  const int64_t c = s_.c / s_.groups, oc = s_.oc / s_.groups, area = s_.kh * s_.kw;
  const int64_t group = channel / (forward_ ? oc : c);
  Sum sum;
  if (forward_ && bias_ != nullptr) sum.value = static_cast<double>(bias_[channel]);
  for (int64_t k = 0; k < (forward_ ? c : oc); ++k) {
    const int64_t i = forward_ ? group * c + k : channel, o = forward_ ? channel : group * oc + k;
    const T* filter = w_ + (o * c + i % c) * area;
    const T* plane =
        forward_ ? a_ + (image * s_.c + i) * s_.h * s_.w : a_ + (image * s_.oc + o) * out_h * out_w;
    for (int64_t t = 0; t < area; ++t) {
      const int64_t down = t / s_.kw * s_.dil_h, across = t % s_.kw * s_.dil_w;
      int64_t y, x;
      if (forward_) {
        y = line * s_.stride_h + down - s_.pad_h;
        x = column * s_.stride_w + across - s_.pad_w;
        if (y < 0 || y >= s_.h || x < 0 || x >= s_.w) continue;
        if (!sum.add(filter[t], plane[y * s_.w + x])) return static_cast<T>(sum.value);
      } else {
        y = line + s_.pad_h - down;
        x = column + s_.pad_w - across;
        if (y < 0 || x < 0 || y % s_.stride_h != 0 || x % s_.stride_w != 0) continue;
        y /= s_.stride_h;
        x /= s_.stride_w;
        if (y >= out_h || x >= out_w) continue;
        if (!sum.add(filter[t], plane[y * out_w + x])) return static_cast<T>(sum.value);
      }
    }
  }
  return static_cast<T>(sum.value);
}

template <class T>
void repair_weights(const ConvShape& s, const T* x, const T* dy, T* dw) {
  const int64_t c = s.c / s.groups, oc = s.oc / s.groups, area = s.kh * s.kw;
  const int64_t out_h = s.out_h(), out_w = s.out_w();
  parallel_for(s.oc, 1, [&](int64_t begin, int64_t end) {
    if (!has_nan(dw + begin * c * area, (end - begin) * c * area)) return;
    for (int64_t i = begin * c * area; i < end * c * area; ++i) {
      if (dw[i] == dw[i]) continue;
      const int64_t o = i / area / c, channel = o / oc * c + i / area % c;
      const int64_t down = i % area / s.kw * s.dil_h - s.pad_h,
                    across = i % s.kw * s.dil_w - s.pad_w;
      Sum sum;
      bool real = true;
      for (int64_t image = 0; image < s.n && real; ++image) {
        const T* from = x + (image * s.c + channel) * s.h * s.w;
        const T* g = dy + (image * s.oc + o) * out_h * out_w;
        for (int64_t k = 0; k < out_h * out_w && real; ++k) {
          const int64_t y = k / out_w * s.stride_h + down, z = k % out_w * s.stride_w + across;
          if (y < 0 || y >= s.h || z < 0 || z >= s.w) continue;
          real = sum.add(g[k], from[y * s.w + z]);
        }
      }
      dw[i] = static_cast<T>(sum.value);
    }
  });
}

#define TANDEM_REPAIR(T)                                                     \
  template class ConvRepair<T>;                                              \
  template void repair_weights<T>(const ConvShape&, const T*, const T*, T*); \
  template bool all_finite<T>(const T*, int64_t);
TANDEM_REPAIR(float)
TANDEM_REPAIR(double)
#undef TANDEM_REPAIR

}  // namespace tandem::cpu
