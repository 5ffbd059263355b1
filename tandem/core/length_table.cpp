#include "tandem/core/length_table.h"

#include <algorithm>
#include <numeric>

namespace tandem::detail {
namespace {

// A handle: 16 bits say which table, 22 how often that place had others before, 22 which entry.
constexpr uint64_t index_bits = 22, generation_bits = 22, slot_bits = 16;
constexpr uint64_t mask(uint64_t bits) { return (uint64_t(1) << bits) - 1; }
constexpr uint64_t first_tag = uint64_t(5) << 61;

struct Slot {
  uint64_t generation = 0;
  std::weak_ptr<LengthTable> table;
  bool taken = false;
};
struct Registry {
  std::mutex mutex;
  std::vector<Slot> slots;
};
Registry& registry() {
  static Registry& all = *new Registry;  // graphs of static objects die late
  return all;
}

/// The order of terms in a sum: constants last.
bool before(const LengthTable::Term& a, const LengthTable::Term& b) {
  if (a.atoms.size() != b.atoms.size()) return a.atoms.size() > b.atoms.size();
  for (size_t i = 0; i < a.atoms.size(); ++i)
    if (a.atoms[i].bits() != b.atoms[i].bits()) return a.atoms[i].bits() < b.atoms[i].bits();
  return false;
}
bool same_atoms(const LengthTable::Term& a, const LengthTable::Term& b) {
  return !before(a, b) && !before(b, a);
}

constexpr size_t most_terms = 256;

/// Sorted, without terms that occur twice or vanish.
std::vector<LengthTable::Term> ordered(std::vector<LengthTable::Term> terms) {
  for (LengthTable::Term& t : terms)
    std::sort(t.atoms.begin(), t.atoms.end(),
              [](Length a, Length b) { return a.bits() < b.bits(); });
  std::sort(terms.begin(), terms.end(), before);
  std::vector<LengthTable::Term> out;
  for (LengthTable::Term& t : terms) {
    if (!out.empty() && same_atoms(out.back(), t))
      out.back().factor = int64_t(Length(out.back().factor) + t.factor);
    else out.push_back(std::move(t));
  }
  std::erase_if(out, [](const LengthTable::Term& t) { return t.factor == 0; });
  require<NotImplemented>(out.size() <= most_terms, "lengths: an expression of more than ",
                          most_terms, " terms");
  return out;
}

}  // namespace

std::shared_ptr<LengthTable> LengthTable::make() {
  std::shared_ptr<LengthTable> table(new LengthTable);
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  size_t at = 0;
  while (at < all.slots.size() && all.slots[at].taken) ++at;
  require<NotImplemented>(at <= mask(slot_bits), "lengths: more than ", mask(slot_bits),
                          " graphs with unknown lengths at once");
  if (at == all.slots.size()) all.slots.emplace_back();
  Slot& slot = all.slots[at];
  slot.taken = true;
  slot.generation = (slot.generation + 1) & mask(generation_bits);
  slot.table = table;
  table->slot_ = at;
  table->generation_ = slot.generation;
  return table;
}

LengthTable::~LengthTable() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.slots[slot_].taken = false;
}

Length LengthTable::handle(size_t index) const {
  require<NotImplemented>(index <= mask(index_bits), "lengths: more than ", mask(index_bits),
                          " expressions in one graph");
  const uint64_t bits = (slot_ << generation_bits | generation_) << index_bits | uint64_t(index);
  return Length(Length::Handle{int64_t(first_tag + bits)});
}

static std::shared_ptr<LengthTable> table_of(int64_t handle) {
  const uint64_t bits = (uint64_t(handle) - first_tag) >> index_bits;
  Registry& all = registry();
  std::shared_ptr<LengthTable> table;
  {
    const std::lock_guard lock(all.mutex);
    const uint64_t slot = bits >> generation_bits;
    if (slot < all.slots.size() && all.slots[slot].generation == (bits & mask(generation_bits)))
      table = all.slots[slot].table.lock();
  }
  require(table != nullptr, "lengths: a length of a graph that is gone");
  return table;
}
std::shared_ptr<LengthTable> LengthTable::of(Length e) { return table_of(e.bits()); }
std::shared_ptr<LengthTable> LengthTable::of(Number e) { return table_of(e.expression()); }

size_t LengthTable::index_of(int64_t bits) const {
  require((uint64_t(bits) - first_tag) >> index_bits == (slot_ << generation_bits | generation_),
          "lengths: lengths of two graphs are used together");
  return size_t((uint64_t(bits) - first_tag) & mask(index_bits));
}
const LengthTable::Entry& LengthTable::entry(Length e) const {
  const std::lock_guard lock(mutex_);
  return entries_[index_of(e.bits())];
}
const LengthTable::Entry& LengthTable::entry(Number e) const {
  const std::lock_guard lock(mutex_);
  return entries_[index_of(e.expression())];
}

// --- Symbols ------------------------------------------------------------------------------------

Length LengthTable::symbol(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (!name.empty())
    if (const auto it = known_.find("symbol " + name); it != known_.end()) return it->second;
  const Length made = handle(entries_.size());
  entries_.push_back({.kind = Kind::symbol, .name = name, .symbol = int(symbols_.size())});
  symbols_.push_back(entries_.size() - 1);
  if (!name.empty()) known_.emplace("symbol " + name, made);
  return made;
}

int LengthTable::symbols() const {
  const std::lock_guard lock(mutex_);
  return int(symbols_.size());
}
Length LengthTable::symbol_at(int i) const {
  const std::lock_guard lock(mutex_);
  return handle(symbols_[size_t(i)]);
}
const std::string& LengthTable::name_of(int i) const {
  const std::lock_guard lock(mutex_);
  return entries_[symbols_[size_t(i)]].name;
}

static const std::shared_ptr<LengthTable>& named_dims() {
  static const std::shared_ptr<LengthTable> table = LengthTable::make();
  return table;
}
Length LengthTable::named(std::string_view name) { return named_dims()->symbol(std::string(name)); }
const std::string* LengthTable::dim_name(Length e) {
  if (e.is_known()) return nullptr;
  const auto table = of(e);
  return table == named_dims() ? &table->entry(e).name : nullptr;
}

void LengthTable::note_read(Length e, CallSite where) {
  const std::lock_guard lock(mutex_);
  read_[e.bits()] = last_read_ = where;
}

std::string LengthTable::place_of(Length e) const {
  const std::lock_guard lock(mutex_);
  const auto it = read_.find(e.bits());
  // Of an expression: the length that was read last is what it was made of, most likely.
  if (it == read_.end() && (read_.empty() || e.is_known())) return {};
  const CallSite& at = it == read_.end() ? last_read_ : it->second;
  return cat(" (read at ", at.file, ":", at.line, ")");
}

// --- Expressions --------------------------------------------------------------------------------

Length LengthTable::intern(Entry e) {
  // A sum of one plain term is that term's number or atom.
  if (e.kind == Kind::sum) {
    if (e.terms.empty()) return 0;
    const Term& only = e.terms[0];
    if (e.terms.size() == 1 && only.atoms.empty()) return only.factor;
    if (e.terms.size() == 1 && only.factor == 1 && only.atoms.size() == 1) return only.atoms[0];
  }
  std::string form = cat(int(e.kind), " ", e.name, " ", e.a.bits(), " ", e.b.bits(), " ",
                         e.x.expression() ? 0 : double(e.x), " ", e.x.expression(), " ",
                         e.y.expression() ? 0 : double(e.y), " ", e.y.expression());
  for (const Term& t : e.terms) {
    form += cat(" + ", t.factor);
    for (Length a : t.atoms) form += cat(" ", a.bits());
  }
  const std::lock_guard lock(mutex_);
  if (const auto it = known_.find(form); it != known_.end()) return it->second;
  const Length made = handle(entries_.size());
  entries_.push_back(std::move(e));
  known_.emplace(std::move(form), made);
  return made;
}

LengthTable::Terms LengthTable::terms_of(Length e) const {
  if (e.is_known()) {
    if (int64_t(e) == 0) return {};
    return {{int64_t(e), {}}};
  }
  const Entry& n = entry(e);
  if (n.kind == Kind::sum) return n.terms;
  return {{1, {e}}};
}

Length LengthTable::sum_of(Terms terms) {
  terms = ordered(std::move(terms));
  // x - min(x, y) is max(0, x - y): one form for what is left of an axis behind a cut.
  int inner = -1, count = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    const Term& t = terms[i];
    if (t.atoms.size() != 1 || (t.factor != 1 && t.factor != -1)) continue;
    const Kind kind = entry(t.atoms[0]).kind;
    if (kind != Kind::minimum && kind != Kind::maximum) continue;
    inner = int(i);
    ++count;
  }
  if (count == 1 && terms.size() > 1) {
    const Term cut = terms[size_t(inner)];
    const Entry n = entry(cut.atoms[0]);
    terms.erase(terms.begin() + inner);
    const Length rest = sum_of(std::move(terms));
    const bool least_of = (n.kind == Kind::minimum) == (cut.factor > 0);
    if (cut.factor > 0) return extreme(least_of, rest + n.a, rest + n.b);
    return extreme(least_of, rest - n.a, rest - n.b);
  }
  return intern({.kind = Kind::sum, .terms = std::move(terms)});
}

LengthTable::Terms LengthTable::product(const Terms& a, const Terms& b) const {
  require<NotImplemented>(a.size() * b.size() <= most_terms * 16,
                          "lengths: the product of two long expressions");
  Terms all;
  for (const Term& x : a)
    for (const Term& y : b) {
      Term t{int64_t(Length(x.factor) * y.factor), x.atoms};
      t.atoms.insert(t.atoms.end(), y.atoms.begin(), y.atoms.end());
      all.push_back(std::move(t));
    }
  return all;
}

Length LengthTable::combine(char op, Length a, Length b) {
  require(!dim_name(a) && !dim_name(b),
          "dim(): a named length is for the shapes of placeholder() and save(); read x.size(axis) "
          "to calculate with it");
  switch (op) {
    case '+':
    case '-': {
      Terms all = terms_of(a);
      for (Term& t : terms_of(b)) {
        if (op == '-') t.factor = int64_t(-Length(t.factor));
        all.push_back(std::move(t));
      }
      return sum_of(std::move(all));
    }
    case '*': return sum_of(product(terms_of(a), terms_of(b)));
    case '/': return quotient(a, b);
    case '%': {
      const Length q = quotient(a, b), rest = a - q * b;
      if (rest.is_known()) return rest;
      return intern({.kind = Kind::remainder, .a = a, .b = b});
    }
    case '<': return extreme(true, a, b);
    default: return extreme(false, a, b);
  }
}

/// a / b, rounded towards zero.
Length LengthTable::quotient(Length a, Length b) {
  const Terms over = terms_of(a), under = terms_of(b);
  require<ShapeError>(!under.empty(), "lengths: ", a, " / 0 divides by zero");
  // Divides without rest, term by term: exact whatever the lengths are.
  if (under.size() == 1) {
    Terms exact;
    for (const Term& t : over) {
      if (t.factor % under[0].factor != 0) break;
      Term left{t.factor / under[0].factor, t.atoms};
      bool all = true;
      for (Length atom : under[0].atoms) {
        const auto it = std::find_if(left.atoms.begin(), left.atoms.end(),
                                     [&](Length x) { return x.bits() == atom.bits(); });
        all = all && it != left.atoms.end();
        if (!all) break;
        left.atoms.erase(it);
      }
      if (!all) break;
      exact.push_back(std::move(left));
    }
    if (exact.size() == over.size()) return sum_of(std::move(exact));
  }
  if (a.bits() == b.bits()) return 1;
  // What is never negative is rounded down: whole parts can be taken out, a common factor cancels.
  if (b.is_known() && int64_t(b) > 0 && least(over).value_or(-1) >= 0) {
    int64_t d = int64_t(b);
    Terms whole, rest;
    for (const Term& t : over) {
      int64_t q = t.factor / d;
      if (t.factor % d < 0) --q;
      if (q) whole.push_back({q, t.atoms});
      if (const int64_t r = t.factor - q * d) rest.push_back({r, t.atoms});
    }
    if (least(rest).value_or(-1) < 0) return intern({.kind = Kind::quotient, .a = a, .b = b});
    int64_t common = d;
    for (const Term& t : rest)
      if (!t.atoms.empty()) common = std::gcd(common, t.factor);
    if (common > 1) {
      for (Term& t : rest) t.factor /= common;  // of the constant the part that counts
      std::erase_if(rest, [](const Term& t) { return t.factor == 0; });
      d /= common;
    }
    Length last = sum_of(std::move(rest));
    if (last.is_known()) last = Length(int64_t(last) / d);
    else if (d > 1) last = intern({.kind = Kind::quotient, .a = last, .b = d});
    return sum_of(std::move(whole)) + last;
  }
  return intern({.kind = Kind::quotient, .a = a, .b = b});
}

Length LengthTable::extreme(bool least_of, Length a, Length b) {
  const Answer less = ask_less(a, b), more = ask_less(b, a);
  if (a.bits() == b.bits() || less == Answer::yes || more == Answer::no)
    return least_of ? a : b;  // a <= b
  if (more == Answer::yes || less == Answer::no) return least_of ? b : a;
  if (b.bits() < a.bits()) std::swap(a, b);
  return intern({.kind = least_of ? Kind::minimum : Kind::maximum, .a = a, .b = b});
}

Length LengthTable::broadcast(Length a, Length b) {
  if (b.bits() < a.bits()) std::swap(a, b);
  return intern({.kind = Kind::broadcast, .a = a, .b = b});
}

Length LengthTable::from_end(Length i, Length n) {
  return intern({.kind = Kind::from_end, .a = i, .b = n});
}

Number LengthTable::real(char op, Number a, Number b) {
  const Number both[] = {a, b};
  return function(std::string_view(&op, 1), both);
}

Number LengthTable::function(std::string_view name, std::span<const Number> arguments) {
  Number operands[2] = {0, 0};
  for (size_t i = 0; i < arguments.size(); ++i) {
    operands[i] = arguments[i];
    // A length becomes a real of its own.
    if (operands[i].is_known()) continue;
    const Entry& n = entry(operands[i]);
    if (n.kind == Kind::real) continue;
    const Length length(Length::Handle{operands[i].expression_});
    operands[i].expression_ = intern({.kind = Kind::real, .a = length}).bits();
  }
  Number made = 0;
  made.expression_ =
      intern({.kind = Kind::real, .name = std::string(name), .x = operands[0], .y = operands[1]})
          .bits();
  return made;
}

// --- Bounds -------------------------------------------------------------------------------------

std::optional<int64_t> LengthTable::least(Length e, int depth) const {
  if (e.is_known()) return int64_t(e);
  if (depth > 8) return {};
  const Entry& n = entry(e);
  switch (n.kind) {
    case Kind::symbol: return 0;
    case Kind::sum: return least(n.terms, depth + 1);
    case Kind::minimum: {
      const auto x = least(n.a, depth + 1), y = least(n.b, depth + 1);
      if (x && y) return std::min(*x, *y);
      return {};
    }
    case Kind::maximum: {
      const auto x = least(n.a, depth + 1), y = least(n.b, depth + 1);
      if (x && y) return std::max(*x, *y);
      return x ? x : y;
    }
    case Kind::broadcast: return 0;
    default: break;
  }
  if (n.kind == Kind::from_end || n.kind == Kind::real) return {};
  const auto x = least(n.a, depth + 1), y = least(n.b, depth + 1);
  if (x.value_or(-1) >= 0 && y.value_or(-1) >= 0) return 0;
  return {};
}

std::optional<int64_t> LengthTable::most(Length e, int depth) const {
  if (e.is_known()) return int64_t(e);
  if (depth > 8) return {};
  const Entry& n = entry(e);
  const auto x = most(n.a, depth + 1), y = most(n.b, depth + 1);
  switch (n.kind) {
    case Kind::minimum:
      if (x && y) return std::min(*x, *y);
      return x ? x : y;
    case Kind::maximum:
      if (x && y) return std::max(*x, *y);
      return {};
    case Kind::remainder:
      if (n.b.is_known() && int64_t(n.b) > 0) return int64_t(n.b) - 1;
      return {};
    case Kind::quotient:
      if (x.value_or(-1) >= 0 && n.b.is_known() && int64_t(n.b) > 0) return *x / int64_t(n.b);
      return {};
    default: return {};
  }
}

/// Each factor counts with its least value, or, where the term is subtracted, with its largest.
std::optional<int64_t> LengthTable::least(const Terms& sum, int depth) const {
  int64_t total = 0;
  bool known = true;
  for (const Term& t : sum) {
    int64_t product = t.factor;
    for (Length atom : t.atoms) {
      const auto low = least(atom, depth + 1), high = most(atom, depth + 1);
      const auto used = t.factor > 0 ? low : high;
      if (low.value_or(-1) < 0 || !used || __builtin_mul_overflow(product, *used, &product)) {
        known = false;
        break;
      }
    }
    if (!known || __builtin_add_overflow(total, product, &total)) {
      known = false;
      break;
    }
  }
  if (known) return total;
  if (depth > 8) return {};
  // A minimum that is subtracted is at most either of its two, a maximum at least, and what is left
  // of a division no more than what was divided.
  for (size_t i = 0; i < sum.size(); ++i) {
    if (sum[i].atoms.size() != 1) continue;
    const Entry& n = entry(sum[i].atoms[0]);
    const bool divided = (n.kind == Kind::quotient || n.kind == Kind::remainder) &&
                         least(n.a, depth + 1).value_or(-1) >= 0 &&
                         least(n.b, depth + 1).value_or(0) > 0;
    const bool bounded =
        sum[i].factor < 0 ? n.kind == Kind::minimum || divided : n.kind == Kind::maximum;
    if (!bounded) continue;
    for (Length side : {n.a, divided ? n.a : n.b}) {
      Terms other = sum;
      other.erase(other.begin() + std::ptrdiff_t(i));
      for (Term& t : product({{sum[i].factor, {}}}, terms_of(side))) other.push_back(std::move(t));
      if (const auto v = least(ordered(std::move(other)), depth + 1)) return v;
    }
  }
  return {};
}

/// a < b, from the bounds of b - a.
Answer LengthTable::ask_less(Length a, Length b) {
  if (dim_name(a) || dim_name(b)) return a.bits() == b.bits() ? Answer::no : Answer::unknown;
  const Length ahead = b - a, behind = a - b;
  if (least(ahead).value_or(0) > 0) return Answer::yes;
  if (const auto low = least(behind); low && *low >= 0) return Answer::no;
  return Answer::unknown;
}

}  // namespace tandem::detail
