#pragma once
#include <concepts>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tandem/core/export.h"
#include "tandem/core/text.h"

namespace tandem {

/// A line of the user's program. (std::source_location needs a newer clang than Debian 12 has.)
struct CallSite {
  const char* file;
  int line;
  static constexpr CallSite current(const char* file = __builtin_FILE(),
                                    int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// The base of everything Tandem throws. `what()` names the op, its attributes, the shapes and the
/// rule that was broken.
class TANDEM_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// Shapes that do not fit together, or a wrong number of dimensions.
class TANDEM_API ShapeError : public Error {
 public:
  using Error::Error;
};
/// An element type that the op cannot take.
class TANDEM_API DTypeError : public Error {
 public:
  using Error::Error;
};
/// Tensors on different devices, or a device that cannot do what was asked.
class TANDEM_API DeviceError : public Error {
 public:
  using Error::Error;
};
/// An axis or an index out of range.
class TANDEM_API IndexError : public Error {
 public:
  using Error::Error;
};
/// An argument outside its domain.
class TANDEM_API ValueError : public Error {
 public:
  using Error::Error;
};
/// A plain number, or a choice, was made of a length that is not known while a graph is built.
class TANDEM_API LengthError : public Error {
 public:
  using Error::Error;
};
/// A misuse of gradients: no graph, freed buffers, a saved value that was overwritten.
class TANDEM_API GradientError : public Error {
 public:
  using Error::Error;
};
/// A file that cannot be read or written, or whose bytes break its format.
class TANDEM_API IOError : public Error {
 public:
  using Error::Error;
};
/// Memory is exhausted, or the cap set by `set_memory_limit` is reached: the text names the op, the
/// bytes and the limit. It is made and copied without asking for memory, long texts are cut off.
class TANDEM_API OutOfMemory : public Error {
 public:
  explicit OutOfMemory(std::string_view text) noexcept;
  const char* what() const noexcept override;

 private:
  char text_[480];
};
/// A valid request that this build or backend cannot serve.
class TANDEM_API NotImplemented : public Error {
 public:
  using Error::Error;
};

namespace detail {
/// For handlers: throws what is being handled again. std::bad_alloc becomes OutOfMemory, and an
/// OutOfMemory that names no op yet gets the name `where`.
[[noreturn]] TANDEM_API void rethrow_for(std::string_view where);

template <class E, class... A>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const A&... a) {
  throw E(cat(a...));
}
/// An argument made just to be part of an error's text: a string that nobody holds.
template <class... A>
inline constexpr bool made_in_advance = (std::same_as<A, std::string> || ...);
}  // namespace detail

/// Throws E with the text of `a...` when `ok` is false. Only the test stands in the caller's path:
/// a part that takes work is given as a function that makes it.
template <class E = ValueError, class... A>
[[gnu::always_inline]] inline void require(bool ok, A&&... a) {
  static_assert(!detail::made_in_advance<A...>, "give a function that makes this text");
  if (!ok) [[unlikely]]
    detail::fail<E>(a...);
}

}  // namespace tandem
