// Expressions of lengths as text and back: "(n + 1) / 2", "sqrt(double(n)) * 0.5".
#include <charconv>

#include "tandem/core/length_table.h"

namespace tandem::detail {
namespace {

using Kind = LengthTable::Kind;

/// Brackets around what binds less than `level`: 1 a sum, 2 a product, 3 a name or number.
std::string bracketed(std::string text, int own, int level) {
  return own < level ? cat("(", text, ")") : text;
}

class Writer {
 public:
  explicit Writer(const SymbolNames& names) : names_(names) {}

  std::string length(Length e, int level) const {
    if (e.is_known()) return bracketed(cat(int64_t(e)), int64_t(e) < 0 ? 1 : 3, level);
    const auto table = LengthTable::of(e);
    const LengthTable::Entry& n = table->entry(e);
    switch (n.kind) {
      case Kind::symbol: return names_.name(*table, n.symbol);
      case Kind::sum: return bracketed(sum(n.terms), n.terms.size() > 1 ? 1 : 2, level);
      case Kind::quotient: return bracketed(cat(length(n.a, 2), " / ", length(n.b, 3)), 2, level);
      case Kind::remainder: return bracketed(cat(length(n.a, 2), " % ", length(n.b, 3)), 2, level);
      case Kind::minimum: return pair("min", n);
      case Kind::maximum: return pair("max", n);
      case Kind::from_end: return pair("from_end", n);
      default: return pair("broadcast", n);
    }
  }

  std::string number(Number e, int level) const {
    if (e.is_known()) return bracketed(cat(double(e)), double(e) < 0 ? 1 : 3, level);
    const auto table = LengthTable::of(e);
    const LengthTable::Entry& n = table->entry(e);
    if (n.kind != Kind::real) return cat("double(", length(table->length_of(e), 0), ")");
    if (n.name.empty()) return cat("double(", length(n.a, 0), ")");
    if (n.name == "pow") return cat("pow(", number(n.x, 0), ", ", number(n.y, 0), ")");
    if (n.name.size() > 1) return cat(n.name, "(", number(n.x, 0), ")");
    const int own = n.name == "+" || n.name == "-" ? 1 : 2;
    return bracketed(cat(number(n.x, own), " ", n.name, " ", number(n.y, own + 1)), own, level);
  }

 private:
  std::string pair(const char* name, const LengthTable::Entry& n) const {
    return cat(name, "(", length(n.a, 0), ", ", length(n.b, 0), ")");
  }
  std::string sum(const std::vector<LengthTable::Term>& terms) const {
    std::string s;
    for (const LengthTable::Term& t : terms) {
      const bool minus = t.factor < 0;
      std::string product;
      if (t.atoms.empty() || (t.factor != 1 && t.factor != -1))
        product = cat(minus && !s.empty() ? -t.factor : t.factor);
      else if (minus && s.empty()) product = "-1";
      for (Length atom : t.atoms) product += (product.empty() ? "" : " * ") + length(atom, 3);
      s += s.empty() ? product : cat(minus ? " - " : " + ", product);
    }
    return s;
  }

  const SymbolNames& names_;
};

class Parser {
 public:
  Parser(std::string_view text, const SymbolValues& symbols) : text_(text), symbols_(symbols) {}

  template <class T>
  T whole(T (Parser::*rule)()) {
    const T value = (this->*rule)();
    if (!next().empty()) fail("an operator is missing");
    return value;
  }

  Length length() {
    Length value = length_product();
    while (true) {
      if (take("+")) value = value + length_product();
      else if (take("-")) value = value - length_product();
      else return value;
    }
  }
  Number number() {
    Number value = number_product();
    while (true) {
      if (take("+")) value = value + number_product();
      else if (take("-")) value = value - number_product();
      else return value;
    }
  }

 private:
  [[noreturn]] void fail(std::string_view why) const {
    throw ValueError(cat("lengths: \"", text_, "\" at ", at_, ": ", why));
  }
  /// The next word, number or sign.
  std::string_view next() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    size_t end = at_;
    auto part = [&](char c) {
      return c == '?' || c == '_' || c == '.' || c == '\'' || (c >= '0' && c <= '9') ||
             (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
    };
    while (end < text_.size() && part(text_[end])) {
      const bool exponent = text_[end] == 'e' && text_[at_] >= '0' && text_[at_] <= '9';
      if (exponent && end + 1 < text_.size() && (text_[end + 1] == '-' || text_[end + 1] == '+'))
        ++end;
      ++end;
    }
    if (end == at_ && at_ < text_.size()) ++end;
    return text_.substr(at_, end - at_);
  }
  bool take(std::string_view word) {
    if (next() != word) return false;
    at_ += word.size();
    return true;
  }
  void need(std::string_view word) {
    if (!take(word)) fail(cat("\"", word, "\" is missing"));
  }
  void deeper() {
    if (++depth_ > 200) fail("too many brackets");
  }

  Length length_product() {
    Length value = length_factor();
    while (true) {
      if (take("*")) value = value * length_factor();
      else if (take("/")) value = value / length_factor();
      else if (take("%")) value = value % length_factor();
      else return value;
    }
  }
  Length length_factor() {
    deeper();
    const Length value = length_atom();
    --depth_;
    return value;
  }
  Length length_atom() {
    if (take("-")) return -length_factor();
    if (take("(")) {
      const Length value = length();
      need(")");
      return value;
    }
    for (std::string_view name : {"min", "max", "from_end", "broadcast"}) {
      const size_t before = at_;
      if (!take(name) || !take("(")) {
        at_ = before;
        continue;
      }
      const Length a = length();
      need(",");
      const Length b = length();
      need(")");
      if (name == "min") return min(a, b);
      if (name == "max") return max(a, b);
      if (name == "from_end") return from_end(a, b);
      const Length both = broadcast_length(a, b);
      if (both.is_known() && int64_t(both) < 0) fail("these lengths cannot be broadcast");
      return both;
    }
    const std::string_view word = next();
    if (word.empty()) fail("it ends too early");
    if (word[0] >= '0' && word[0] <= '9') {
      int64_t v = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), v);
      if (error != std::errc() || end != word.data() + word.size()) fail("this is no number");
      at_ += word.size();
      return v;
    }
    at_ += word.size();
    return symbols_.value(word);
  }

  Number number_product() {
    Number value = number_factor();
    while (true) {
      if (take("*")) value = value * number_factor();
      else if (take("/")) value = value / number_factor();
      else return value;
    }
  }
  Number number_factor() {
    deeper();
    const Number value = number_atom();
    --depth_;
    return value;
  }
  Number number_atom() {
    if (take("-")) {
      const Number value = number_factor();
      return value.is_known() ? Number(-double(value)) : -value;
    }
    if (take("(")) {
      const Number value = number();
      need(")");
      return value;
    }
    const std::string_view word = next();
    if (word.empty()) fail("it ends too early");
    double v = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), v);
    if (error == std::errc() && end == word.data() + word.size()) {
      at_ += word.size();
      return v;
    }
    at_ += word.size();
    need("(");
    if (word == "double") {
      const Length value = length();
      need(")");
      return value;
    }
    const Number x = number();
    if (word == "pow") {
      need(",");
      const Number y = number();
      need(")");
      return apply_function(word, x, y);
    }
    need(")");
    return apply_function(word, x);
  }

  std::string_view text_;
  const SymbolValues& symbols_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string to_text(Length e, const SymbolNames& names) { return Writer(names).length(e, 0); }
std::string to_text(Number e, const SymbolNames& names) { return Writer(names).number(e, 0); }

Length parse_length(std::string_view text, const SymbolValues& symbols) {
  return Parser(text, symbols).whole(&Parser::length);
}
Number parse_number(std::string_view text, const SymbolValues& symbols) {
  return Parser(text, symbols).whole(&Parser::number);
}

}  // namespace tandem::detail
