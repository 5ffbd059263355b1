#pragma once
#include <array>
#include <string>
#include <string_view>

#include "tandem/core/by_name.h"
#include "tandem/data/dataset.h"

namespace tandem::data {

struct FashionMNISTOptions {
  ByName by_name = ByName();
  /// The folder with the four idx files, gzipped or not; the default is where Debian's package
  /// dataset-fashion-mnist puts them.
  std::string root = "/usr/share/datasets/fashion-mnist";
  bool train = true;  ///< the 60,000 training images, else the 10,000 test images
};

/// Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): pictures of clothes, u8 [1, 28, 28], with one of
/// ten classes as i64 [].
class TANDEM_API FashionMNIST {
 public:
  static constexpr std::array<std::string_view, 10> classes = {
      "T-shirt", "trouser", "pullover", "dress", "coat",
      "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};

  /// Errors: IOError when files are missing or damaged, or do not fit together.
  explicit FashionMNIST(const FashionMNISTOptions& options = {});
  int64_t size() const { return labels_.size(0); }
  Example get(int64_t i) const { return {detail::row(images_, i), detail::row(labels_, i)}; }
  Example get_batch(std::span<const int64_t> indices) const {
    return {detail::gather_rows(images_, indices), detail::gather_rows(labels_, indices)};
  }
  /// u8 [size, 1, 28, 28]
  const Tensor& images() const { return images_; }
  /// i64 [size]
  const Tensor& labels() const { return labels_; }

 private:
  Tensor images_, labels_;
};

}  // namespace tandem::data
