#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "tandem/core/factory.h"
#include "tandem/core/random.h"
#include "tandem/graph/conv_records.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/norm_records.h"
#include "tandem/op/registry.h"

namespace tandem::graph {
namespace {

constexpr DType all_dtypes[] = {f32, f64, f16, bf16, i8, u8, i16, u16, i32, u32, i64, u64, boolean};

/// Splits at ", " outside of brackets.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size())
      depth += (text[i] == '[' || text[i] == '(') - (text[i] == ']' || text[i] == ')');
    if (i < text.size() && (text[i] != ',' || depth)) continue;
    std::string_view part = text.substr(begin, i - begin);
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    if (!part.empty()) parts.push_back(part);
    begin = i + 1;
  }
  return parts;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), g_(Graph::make()) {}

  std::shared_ptr<Graph> parse() {
    // Numbers of unnamed values stay what they are, so that the text of the result is this one.
    reserve_numbers();
    size_t line = 0;
    while (!text_.empty()) {
      const size_t end = std::min(text_.find('\n'), text_.size());
      line_ = text_.substr(0, end);
      text_.remove_prefix(std::min(end + 1, text_.size()));
      number_ = ++line;
      while (!line_.empty() && line_.front() == ' ') line_.remove_prefix(1);
      if (!line_.empty()) statement();
    }
    return g_;
  }

 private:
  template <class... A>
  [[noreturn]] void fail(const A&... what) const {
    throw ValueError(cat("graph::parse(): line ", number_, ": ", what..., ": ", line_));
  }
  template <class T>
  T number(std::string_view s) const {
    T v{};
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
    if (error != std::errc() || end != s.data() + s.size()) fail("\"", s, "\" is no number");
    return v;
  }

  void reserve_numbers() {
    int64_t last = -1;
    for (size_t i = 0; i + 1 < text_.size(); ++i) {
      if (text_[i] != '%' || text_[i + 1] < '0' || text_[i + 1] > '9') continue;
      int64_t v = 0;
      std::from_chars(text_.data() + i + 1, text_.data() + text_.size(), v);
      require(v < (1 << 24), "graph::parse(): value number ", v, " is too large");
      last = std::max(last, v);
    }
    while (ValueId(g_->values().size()) <= last) g_->add_value({});
    defined_.resize(size_t(last) + 1);
  }

  Spec spec(std::string_view s) const {
    Spec out;
    if (const size_t at = s.find('@'); at != s.npos) {  // "f32[2, 3]@null"
      if (s.substr(at + 1) != to_string(null_device)) fail("unknown device in \"", s, "\"");
      out.device = null_device;
      s = s.substr(0, at);
    }
    const size_t open = s.find('[');
    if (open == s.npos || s.back() != ']') fail("\"", s, "\" is no type");
    const auto dtype = std::find_if(std::begin(all_dtypes), std::end(all_dtypes),
                                    [&](DType d) { return cat(d) == s.substr(0, open); });
    if (dtype == std::end(all_dtypes)) fail("unknown dtype in \"", s, "\"");
    out.dtype = *dtype;
    out.shape = shape(s.substr(open));
    return out;
  }
  Shape shape(std::string_view s) const {
    Shape out;
    if (s.size() < 2 || s.front() != '[' || s.back() != ']') fail("\"", s, "\" is no shape");
    for (std::string_view part : split(s.substr(1, s.size() - 2))) {
      if (out.size() == max_dims) fail("more than ", max_dims, " axes");
      out.push_back(length(part));
    }
    return out;
  }
  /// A number, or an expression of unknown lengths: "n", "?0 / 2".
  Length length(std::string_view s) const {
    int64_t v = 0;
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
    if (error == std::errc() && end == s.data() + s.size()) return v;
    try {
      return detail::parse_length(s, Symbols(*this));
    } catch (const Error& e) {
      fail(e.what());
    }
  }
  struct Symbols final : detail::SymbolValues {
    const Parser& p;
    explicit Symbols(const Parser& parser) : p(parser) {}
    Length value(std::string_view name) const override {
      const auto known = p.symbols_.find(std::string(name));
      if (known != p.symbols_.end()) return known->second;
      const bool unnamed = name.starts_with('?');
      const Length made = p.g_->unknown_length(unnamed ? std::string() : std::string(name));
      return p.symbols_[std::string(name)] = made;
    }
  };

  /// "%name: type" defines a value.
  ValueId define(std::string_view s, ValueKind kind) {
    const size_t colon = s.find(": ");
    if (s.empty() || s[0] != '%' || colon == s.npos) fail("a definition is %name: type");
    const std::string name(s.substr(1, colon - 1));
    const bool numbered = !name.empty() && name[0] >= '0' && name[0] <= '9';
    const Spec type = spec(s.substr(colon + 2));
    ValueId id;
    if (numbered) {
      id = number<ValueId>(name);
      if (defined_[size_t(id)]) fail("%", name, " is defined twice");
      defined_[size_t(id)] = true;
    } else {
      if (names_.contains(name)) fail("%", name, " is defined twice");
      id = g_->add_value({}, name);
      names_[name] = id;
    }
    Value& v = g_->edit_values()[size_t(id)];
    v.spec = type;
    v.kind = kind;
    return id;
  }
  ValueId use(std::string_view s) const {
    if (s == "none") return -1;
    const std::string name(s.substr(std::min<size_t>(1, s.size())));
    if (const auto it = names_.find(name); it != names_.end()) return it->second;
    if (!name.empty() && name[0] >= '0' && name[0] <= '9') {
      const auto id = number<ValueId>(name);
      if (size_t(id) < defined_.size() && defined_[size_t(id)]) return id;
    }
    fail("%", name, " is not defined");
  }

  void statement() {
    if (line_.starts_with("graph(") && line_.ends_with(')')) {
      for (std::string_view part : split(line_.substr(6, line_.size() - 7)))
        g_->edit_inputs().push_back(define(part, ValueKind::input));
    } else if (line_.starts_with("return")) {
      for (std::string_view part : split(line_.substr(6))) {
        const ValueId id = use(part);
        const std::string& name = g_->value(id).name;
        g_->add_output(name.empty() ? cat("out", g_->outputs().size()) : name, id);
      }
    } else if (const size_t arrow = line_.find(" <- "); arrow != line_.npos) {
      g_->edit_assignments().push_back({use(line_.substr(0, arrow)), use(line_.substr(arrow + 4))});
    } else {
      node();
    }
  }

  void node() {
    const size_t equals = line_.find(" = "), open = line_.find('(', equals);
    if (equals == line_.npos || open == line_.npos || line_.back() != ')')
      fail("a node is results = name(inputs, attributes)");
    const std::string_view results = line_.substr(0, equals);
    const std::string_view name = line_.substr(equals + 3, open - equals - 3);
    const std::string_view inside = line_.substr(open + 1, line_.size() - open - 2);
    if (name == "constant" || name == "state" || name == "random_key") {
      source(results, name, inside);
      return;
    }
    const OpInfo* info = find_op(name);
    if (!info) info = find_conv_record(name);
    if (!info) info = find_norm_record(name);
    if (!info) fail("no record is called ", name);
    Node n;
    n.info = info;
    std::unordered_map<std::string_view, std::string_view> attributes;
    for (std::string_view part : split(inside)) {
      const size_t at = part.find('=');
      if (at == part.npos) n.inputs.push_back(use(part));
      else attributes[part.substr(0, at)] = part.substr(at + 1);
    }
    void* memory = ::operator new(std::max<size_t>(info->size, 1));
    info->make_default(memory);
    n.op = {memory, [info](void* p) {
              if (info->destroy) info->destroy(p);
              ::operator delete(p);
            }};
    Reader reader(*this, attributes);
    info->visit(memory, reader);
    for (const auto& [key, value] : attributes) fail(name, " has no attribute ", key);
    for (std::string_view part : split(results))
      n.outputs.push_back(define(part, ValueKind::result));
    g_->edit_nodes().push_back(std::move(n));
  }

  void source(std::string_view result, std::string_view name, std::string_view inside) {
    const ValueId id = define(result, name == "state"      ? ValueKind::state
                                      : name == "constant" ? ValueKind::constant
                                                           : ValueKind::key);
    Value& v = g_->edit_values()[size_t(id)];
    if (name == "state") {
      v.tensor = zeros(v.spec.shape, v.spec.dtype);
    } else if (name == "constant") {
      if (inside.empty()) fail("a constant of several values has no text");
      v.tensor = full(v.spec.shape, number<double>(inside), v.spec.dtype);
    } else {
      v.generator = default_generator().twin();
    }
  }

  class Reader final : public FieldVisitor {
   public:
    using Map = std::unordered_map<std::string_view, std::string_view>;
    Reader(const Parser& p, Map& map) : p_(p), map_(map) {}
    void visit(std::string_view n, bool& v) override {
      read(n, [&](std::string_view s) { v = s == "true"; });
    }
    void visit(std::string_view n, int64_t& v) override {
      read(n, [&](std::string_view s) { v = p_.number<int64_t>(s); });
    }
    void visit(std::string_view n, double& v) override {
      read(n, [&](std::string_view s) { v = p_.number<double>(s); });
    }
    void visit(std::string_view n, std::string& v) override {
      read(n, [&](std::string_view s) { v = std::string(s); });
    }
    void visit(std::string_view n, DType& v) override {
      read(n, [&](std::string_view s) { v = p_.spec(cat(s, "[]")).dtype; });
    }
    void visit(std::string_view n, Shape& v) override {
      read(n, [&](std::string_view s) { v = p_.shape(s); });
    }
    void visit(std::string_view n, Length& v) override {
      read(n, [&](std::string_view s) { v = p_.length(s); });
    }
    void visit(std::string_view n, Number& v) override {
      read(n, [&](std::string_view s) { v = detail::parse_number(s, Symbols(p_)); });
    }
    void visit(std::string_view n, std::optional<Length>& v) override {
      read(n, [&](std::string_view s) {
        if (s == "none") v.reset();
        else v = p_.length(s);
      });
    }
    void visit(std::string_view n, std::optional<Number>& v) override {
      read(n, [&](std::string_view s) {
        if (s == "none") v.reset();
        else v = detail::parse_number(s, Symbols(p_));
      });
    }
    void visit(std::string_view n, std::optional<int64_t>& v) override {
      read(n, [&](std::string_view s) {
        if (s == "none") v.reset();
        else v = p_.number<int64_t>(s);
      });
    }
    void visit(std::string_view n, std::optional<double>& v) override {
      read(n, [&](std::string_view s) {
        if (s == "none") v.reset();
        else v = p_.number<double>(s);
      });
    }

   private:
    template <class F>
    void read(std::string_view name, F f) {
      const auto it = map_.find(name);
      if (it == map_.end()) return;
      f(it->second);
      map_.erase(it);
    }
    const Parser& p_;
    Map& map_;
  };

  std::string_view text_, line_;
  size_t number_ = 0;
  std::shared_ptr<Graph> g_;
  std::vector<bool> defined_;
  std::unordered_map<std::string, ValueId> names_;
  mutable std::unordered_map<std::string, Length> symbols_;
};

}  // namespace

std::shared_ptr<Graph> parse(std::string_view text) { return Parser(text).parse(); }

}  // namespace tandem::graph
