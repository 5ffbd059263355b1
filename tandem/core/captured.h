#pragma once
#include <string>
#include <string_view>

#include "tandem/core/random.h"
#include "tandem/core/tensor.h"
#include "tandem/core/text.h"

// What code of core/ needs of a function under capture. Implemented above, where recorders and ops
// are known.
namespace tandem::detail {

/// The next key of `generator` as a value that each run draws anew.
Tensor captured_key(Generator& generator);
/// `value` as that shape, which may have an axis of unknown length.
Tensor captured_full(const Shape& shape, const Tensor& value);
/// A number that depends on unknown lengths as a value of the graph that has them.
Tensor captured_number(const Scalar& number);
/// The code under capture has looked at a length of a symbolic tensor.
void length_is_read(const Tensor& t, const CallSite& where);
/// Where a symbolic tensor comes from, for error texts: " of relu() in module Net.act".
std::string symbolic_origin(const Tensor& t);

/// While it lives, this thread records the function that was given to compile() there.
class RecordedAt {
 public:
  explicit RecordedAt(const CallSite& where) : before_(now) { now = &where; }
  ~RecordedAt() { now = before_; }
  RecordedAt(const RecordedAt&) = delete;
  RecordedAt& operator=(const RecordedAt&) = delete;
  /// " in the function compiled at net.cpp:12", for texts of what does not know its caller's line.
  static std::string text() {
    return now ? cat(" in the function compiled at ", now->file, ":", now->line) : std::string();
  }

 private:
  static inline thread_local const CallSite* now = nullptr;
  const CallSite* before_;
};

/// Throws where a function is recorded for compile(): what has an effect on the program besides its
/// tensors would happen then only, and never in a later call.
inline void refuse_in_compiled(std::string_view what) {
  const std::string where = RecordedAt::text();
  require(where.empty(), what, where,
          ": would happen when the function is recorded, not at every "
          "call; call it outside of the function");
}

/// What a reader of a symbolic value can do.
inline constexpr const char* symbolic_remedy =
    "decide with where(), cond() or while_loop(), or run the function eagerly";

}  // namespace tandem::detail
