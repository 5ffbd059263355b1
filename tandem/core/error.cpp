#include "tandem/core/error.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "tandem/core/short_text.h"
#include "tandem/core/small_vector.h"
#include "tandem/core/text.h"

namespace tandem {

// An empty std::string takes no memory, nor does the base's copy of it.
OutOfMemory::OutOfMemory(std::string_view text) noexcept : Error(std::string()) {
  const size_t n = std::min(text.size(), sizeof text_ - 1);
  std::memcpy(text_, text.data(), n);
  text_[n] = 0;
}

const char* OutOfMemory::what() const noexcept { return text_; }

namespace detail {

void list_without_memory(size_t bytes) {
  throw OutOfMemory(ShortText("allocate: the system refuses ", bytes, " bytes for a list").view());
}

void rethrow_for(std::string_view where) {
  try {
    throw;
  } catch (const OutOfMemory& e) {
    // The innermost op stands there already.
    if (!std::string_view(e.what()).starts_with("allocate: ")) throw;
    throw OutOfMemory(ShortText(where, ": ", e.what()).view());
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(ShortText(where, ": the system has no memory left").view());
  } catch (const ShapeError& e) {
    for (const std::string_view unnamed : {"lengths: ", "empty(): "})
      if (std::string_view(e.what()).starts_with(unnamed))
        throw ShapeError(cat(where, ": ", std::string_view(e.what()).substr(unnamed.size())));
    throw;
  }
}

}  // namespace detail
}  // namespace tandem
