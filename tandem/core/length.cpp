#include "tandem/core/length.h"

#include <cmath>

#include "tandem/core/length_table.h"

namespace tandem {
namespace {

using detail::LengthTable;

constexpr const char* remedy =
    "; keep it a length (`auto n = x.size(0)`), of which +, -, *, /, %, min, max, sqrt, log and "
    "exp make further ones, let cond(), while_loop(), scan() or map_fn() do what depends on it, "
    "or give the placeholder that length";

[[noreturn]] void no_fit(char op, int64_t a, int64_t b) {
  const bool zero = b == 0 && (op == '/' || op == '%');
  throw ShapeError(
      cat("lengths: ", a, " ", op, " ", b, zero ? " divides by zero" : " does not fit in 63 bits"));
}

}  // namespace

void Length::refuse_number(int64_t v) {
  throw ShapeError(cat("lengths: ", std::to_string(v), " is out of range"));
}

void Length::decide(Length n) {
  const auto table = LengthTable::of(n);
  throw LengthError(cat("a plain number is made of the length ", to_string(n), table->place_of(n),
                        ", which is not known while the graph is built", remedy));
}

Length Length::combine(char op, Length a, Length b) {
  if (!plain(a, b)) return LengthTable::of(a.is_known() ? b : a)->combine(op, a, b);
  const int64_t x = a.v_, y = b.v_;
  if ((op == '/' || op == '%') && y < -1) return op == '/' ? x / y : x % y;
  if (op == '/' && y == -1 && x != INT64_MIN) return -x;
  if (op == '%' && y == -1) return 0;
  no_fit(op, x, y);
}

namespace {
bool answered(detail::Answer answer, Length a, Length b) {
  if (answer != detail::Answer::unknown) return answer == detail::Answer::yes;
  const auto table = LengthTable::of(a.is_known() ? b : a);
  throw LengthError(cat("the lengths ", to_string(a), table->place_of(a), " and ", to_string(b),
                        table->place_of(b),
                        " are compared, which has no answer while the graph is built", remedy));
}
}  // namespace

bool Length::equal(Length a, Length b) { return answered(detail::ask_equal(a, b), a, b); }
bool Length::less(Length a, Length b) { return answered(detail::ask_less(a, b), a, b); }

Number Number::combine_unknown(char op, Number a, Number b) {
  return LengthTable::of(a.is_known() ? b : a)->real(op, a, b);
}

void Number::decide() const {
  throw LengthError(cat(
      "a double is made of ",
      [&] {
        std::string s;
        detail::append(s, *this);
        return s;
      }(),
      ", which depends on lengths that are not known while the graph is built", remedy));
}

Length dim(std::string_view name) {
  auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
  };
  bool good = !name.empty() && letter(name[0]);
  for (char c : name) good = good && (letter(c) || (c >= '0' && c <= '9') || c == '.');
  require(good, "dim(", name, "): a name is a letter, then letters, digits, _ and .");
  return LengthTable::named(name);
}

namespace {
/// Names for error texts; only `complete` ones say what the expression is.
struct Shown final : detail::SymbolNames {
  mutable bool complete = true;
  std::string name(const LengthTable& table, int symbol) const override {
    const std::string& own = table.name_of(symbol);
    complete = complete && !own.empty();
    return own;
  }
};
}  // namespace

std::string to_string(Length length) {
  if (length.is_known()) return cat(int64_t(length));
  const Shown shown;
  const std::string text = detail::to_text(length, shown);
  return shown.complete ? text : "?";
}

namespace detail {

void append(std::string& s, Length v) { s += to_string(v); }
void append(std::string& s, Number v) {
  if (v.is_known()) return append(s, double(v));
  const Shown shown;
  const std::string text = to_text(v, shown);
  s += shown.complete ? text : "?";
}

Answer ask_equal(Length a, Length b) {
  if (a.bits() == b.bits()) return Answer::yes;
  if (a.is_known() && b.is_known()) return Answer::no;
  const bool apart = ask_less(a, b) == Answer::yes || ask_less(b, a) == Answer::yes;
  return apart ? Answer::no : Answer::unknown;
}

Answer ask_less(Length a, Length b) {
  if (a.is_known() && b.is_known()) return a.bits() < b.bits() ? Answer::yes : Answer::no;
  return LengthTable::of(a.is_known() ? b : a)->ask_less(a, b);
}

Length unknown_from_end(Length i, Length n) {
  if (must_fit(0, i)) return i;
  if (must_be_less(i, 0)) return i + n;
  return LengthTable::of(i)->from_end(i, n);
}

Length broadcast_length(Length a, Length b) {
  if (must_equal(a, b) || must_equal(b, 1)) return a;
  if (must_equal(a, 1)) return b;
  if (!may_equal(a, b) && !may_equal(a, 1) && !may_equal(b, 1)) return -1;
  // One of them is known: the other is that, or 1.
  if (a.is_known()) return a;
  if (b.is_known()) return b;
  return LengthTable::of(a)->broadcast(a, b);
}

namespace {
struct Function {
  std::string_view name;
  double (*one)(double);
};
constexpr Function functions[] = {{"sqrt", [](double x) { return std::sqrt(x); }},
                                  {"exp", [](double x) { return std::exp(x); }},
                                  {"log", [](double x) { return std::log(x); }},
                                  {"log2", [](double x) { return std::log2(x); }},
                                  {"log10", [](double x) { return std::log10(x); }},
                                  {"floor", [](double x) { return std::floor(x); }},
                                  {"ceil", [](double x) { return std::ceil(x); }}};

double call(std::string_view name, double x) {
  for (const Function& f : functions)
    if (f.name == name) return f.one(x);
  throw ValueError(cat("lengths: no function is called ", name));
}
}  // namespace

bool is_length(Number x) { return LengthTable::of(x)->entry(x).kind != LengthTable::Kind::real; }

Number apply_function(std::string_view name, Number x) {
  if (x.is_known()) return call(name, double(x));
  return LengthTable::of(x)->function(name, {&x, 1});
}

Number apply_function(std::string_view name, Number x, Number y) {
  require(name == "pow", "lengths: no function of two numbers is called ", name);
  if (x.is_known() && y.is_known()) return std::pow(double(x), double(y));
  const Number both[] = {x, y};
  return LengthTable::of(x.is_known() ? y : x)->function(name, both);
}

// --- Evaluation ---------------------------------------------------------------------------------

int64_t evaluate(Length e, const LengthValues& values) {
  if (e.is_known()) return int64_t(e);
  const auto table = LengthTable::of(e);
  const LengthTable::Entry& n = table->entry(e);
  using Kind = LengthTable::Kind;
  auto operand = [&](Length x) { return Length(evaluate(x, values)); };
  switch (n.kind) {
    case Kind::symbol: {
      const int64_t v = size_t(n.symbol) < values.size() ? values[size_t(n.symbol)] : -1;
      require(
          v >= 0, "the length ", n.name.empty() ? std::string_view("?") : n.name,
          [&] { return table->place_of(e); }, " is not known: nothing that was fed has it");
      return v;
    }
    case Kind::sum: {
      Length total = 0;
      for (const LengthTable::Term& t : n.terms) {
        Length product = t.factor;
        for (Length atom : t.atoms) product *= operand(atom);
        total += product;
      }
      return int64_t(total);
    }
    case Kind::quotient: return int64_t(operand(n.a) / operand(n.b));
    case Kind::remainder: return int64_t(operand(n.a) % operand(n.b));
    case Kind::minimum: return int64_t(min(operand(n.a), operand(n.b)));
    case Kind::maximum: return int64_t(max(operand(n.a), operand(n.b)));
    case Kind::from_end: return int64_t(from_end(operand(n.a), operand(n.b)));
    default: break;
  }
  const Length a = operand(n.a), b = operand(n.b), both = broadcast_length(a, b);
  require<ShapeError>(both >= 0, "lengths ", a, " and ", b, " cannot be broadcast");
  return int64_t(both);
}

double evaluate(Number e, const LengthValues& values) {
  if (e.is_known()) return double(e);
  const auto table = LengthTable::of(e);
  const LengthTable::Entry& n = table->entry(e);
  if (n.kind != LengthTable::Kind::real) return double(evaluate(table->length_of(e), values));
  if (n.name.empty()) return double(evaluate(n.a, values));
  const double x = evaluate(n.x, values);
  if (n.name == "pow") return std::pow(x, evaluate(n.y, values));
  if (n.name.size() > 1) return call(n.name, x);
  return Number::combine(n.name[0], x, evaluate(n.y, values));
}

}  // namespace detail
}  // namespace tandem
