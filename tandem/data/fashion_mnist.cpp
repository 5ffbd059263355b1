#include "tandem/data/fashion_mnist.h"

#include "tandem/io/idx.h"
#include "tandem/op/copy.h"

namespace tandem::data {

namespace {

Tensor load(const std::string& root, const std::string& name) {
  const std::string path = root + "/" + name;
  std::string first;
  for (const char* ending : {".gz", ""}) {
    try {
      return load_idx(path + ending);
    } catch (const IOError& e) {
      // A damaged file is reported as it is; only a missing one sends us to the next name.
      if (std::string_view(e.what()).find("No such file") == std::string_view::npos) throw;
      if (first.empty()) first = e.what();
    }
  }
  throw IOError(cat("FashionMNIST: ", first, " (Debian's package dataset-fashion-mnist has it)"));
}

}  // namespace

FashionMNIST::FashionMNIST(const FashionMNISTOptions& options) {
  const std::string part = options.train ? "train" : "t10k";
  const Tensor images = load(options.root, part + "-images-idx3-ubyte");
  const Tensor labels = load(options.root, part + "-labels-idx1-ubyte");
  require<IOError>(images.dtype() == u8 && labels.dtype() == u8 && images.dim() == 3 &&
                       labels.dim() == 1 && images.size(0) == labels.size(0),
                   "FashionMNIST(", options.root, "): ", images.spec(), " images and ",
                   labels.spec(), " labels do not fit together");
  const Shape shape{images.size(0), 1, images.size(1), images.size(2)};
  images_ = tandem::detail::alias(images, shape, contiguous_strides(shape), 0);
  labels_ = tandem::detail::as_contiguous(labels, i64);
  for (const int64_t label : labels_.span<int64_t>())
    require<IOError>(label < int64_t(classes.size()), "FashionMNIST(", options.root, "): label ",
                     label, " is not one of ten classes");
}

}  // namespace tandem::data
