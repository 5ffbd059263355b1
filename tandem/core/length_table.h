#pragma once
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/length.h"

namespace tandem {
class Recorder;
}
namespace tandem::detail {

/// The unknown lengths of a graph, and the expressions that were made of them. Expressions of one
/// form are one entry: sums of products are kept ordered, so that equal ones are found equal.
class TANDEM_API LengthTable : public std::enable_shared_from_this<LengthTable> {
 public:
  enum class Kind : uint8_t {
    symbol,
    sum,
    quotient,
    remainder,
    minimum,
    maximum,
    broadcast,
    from_end,
    real
  };
  /// `factor` times the product of `atoms`, expressions that are no sums.
  struct Term {
    int64_t factor;
    std::vector<Length> atoms;
  };
  struct Entry {
    Kind kind;
    std::string name = {};         ///< of a symbol; of a real the operator or function
    int symbol = -1;               ///< which one
    std::vector<Term> terms = {};  ///< of a sum
    Length a = 0, b = 0;           ///< operands; of a real that is a length, `a`
    Number x = 0, y = 0;           ///< operands of a real
  };

  static std::shared_ptr<LengthTable> make();
  ~LengthTable();
  /// The graph whose lengths these are; null when it is gone.
  Recorder* graph = nullptr;
  LengthTable(const LengthTable&) = delete;
  LengthTable& operator=(const LengthTable&) = delete;

  /// A new unknown length; with a name, the one of that name.
  Length symbol(const std::string& name = {});
  int symbols() const;
  Length symbol_at(int i) const;
  const std::string& name_of(int symbol) const;

  const Entry& entry(Length e) const;
  const Entry& entry(Number e) const;
  /// A number that is a length, as it was given: not yet a real of its own.
  Length length_of(Number e) const { return handle(index_of(e.expression())); }
  /// The table of an expression. Errors: ValueError when its graph is gone.
  static std::shared_ptr<LengthTable> of(Length e);
  static std::shared_ptr<LengthTable> of(Number e);

  /// Remembers that the code read this length there, for error texts.
  void note_read(Length e, CallSite where);
  /// " (read by size() at net.cpp:12)", or nothing when it is not known.
  std::string place_of(Length e) const;

  Length combine(char op, Length a, Length b);
  Length broadcast(Length a, Length b);
  Length from_end(Length i, Length n);
  Number real(char op, Number a, Number b);
  Number function(std::string_view name, std::span<const Number> arguments);
  Answer ask_less(Length a, Length b);

  /// The name that dim() gave; nullptr for other lengths.
  static const std::string* dim_name(Length e);
  static Length named(std::string_view name);

 private:
  LengthTable() = default;
  using Terms = std::vector<Term>;

  Length handle(size_t index) const;
  Length intern(Entry e);
  Terms terms_of(Length e) const;
  Length sum_of(Terms terms);
  Terms product(const Terms& a, const Terms& b) const;
  Length quotient(Length a, Length b);
  Length extreme(bool least, Length a, Length b);
  /// A number that the expression is never below; none when there may be none.
  std::optional<int64_t> least(const Terms& sum, int depth = 0) const;
  std::optional<int64_t> least(Length e, int depth = 0) const;
  std::optional<int64_t> most(Length e, int depth = 0) const;
  size_t index_of(int64_t bits) const;

  mutable std::mutex mutex_;
  uint64_t slot_ = 0, generation_ = 0;
  std::deque<Entry> entries_;
  std::vector<size_t> symbols_;
  std::unordered_map<std::string, Length> known_;  ///< by form
  std::unordered_map<int64_t, CallSite> read_;
  CallSite last_read_{};
};

/// What the symbols of a table are in one run, by their number; -1: not known.
using LengthValues = std::vector<int64_t>;
/// The number that an expression is. Errors: ValueError for symbols without a value, ShapeError for
/// divisions by 0 and results that do not fit.
TANDEM_API int64_t evaluate(Length e, const LengthValues& values);
TANDEM_API double evaluate(Number e, const LengthValues& values);

/// The text of an expression, with names for its symbols; parse_length() reads it back.
class SymbolNames {
 public:
  virtual std::string name(const LengthTable& table, int symbol) const = 0;

 protected:
  ~SymbolNames() = default;
};
TANDEM_API std::string to_text(Length e, const SymbolNames& names);
TANDEM_API std::string to_text(Number e, const SymbolNames& names);
/// What a name stands for in a text.
class SymbolValues {
 public:
  virtual Length value(std::string_view name) const = 0;

 protected:
  ~SymbolValues() = default;
};
/// Errors: ValueError that shows the text and where it is wrong.
TANDEM_API Length parse_length(std::string_view text, const SymbolValues& symbols);
TANDEM_API Number parse_number(std::string_view text, const SymbolValues& symbols);

}  // namespace tandem::detail
