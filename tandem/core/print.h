#pragma once
#include <string>

#include "tandem/core/by_name.h"
#include "tandem/core/tensor.h"

namespace tandem {

/// How tensors are printed; the defaults are PyTorch's, the layout NumPy's.
struct PrintOptions {
  ByName by_name = ByName();
  int precision = 4;         ///< digits behind the point; as few as tell the numbers apart
  int64_t threshold = 1000;  ///< more elements than this are summarised
  int64_t edgeitems = 3;     ///< that many at each end of an axis then
  int linewidth = 75;        ///< columns
};

/// The elements in nested brackets, columns aligned, as NumPy's array2string writes them:
/// "[[1.  2.5]\n [3.  4. ]]". A dtype other than f32, i64 and bool follows: "[1 2], dtype=i32".
/// Symbolic values and tensors without data print their spec.
TANDEM_API std::string to_string(const Tensor& t, const PrintOptions& options = {});
/// Writes `to_string(t)` and a line end to standard output.
TANDEM_API void print(const Tensor& t, const PrintOptions& options = {});

namespace detail {
template <class T>
concept Printable = std::same_as<T, Tensor> || std::same_as<T, Shape> || std::same_as<T, DType> ||
    std::same_as<T, Spec>;
}

/// `std::cout << t << t.shape() << t.dtype()`, for any stream of characters, without a stream
/// header here.
template <class Stream, detail::Printable T>
requires requires(Stream& s, const char* p) { s.write(p, 1); }
Stream& operator<<(Stream& stream, const T& t) {
  std::string text;
  if constexpr (std::same_as<T, DType>) text = name(t);
  else text = to_string(t);
  stream.write(text.data(), static_cast<std::ptrdiff_t>(text.size()));
  return stream;
}

}  // namespace tandem
