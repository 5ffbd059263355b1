#include "tests/five_ways/catalogue.h"

#include <algorithm>

namespace tandem::five_ways {

const FieldValue& Values::find(std::string_view name) const {
  for (const auto& [key, value] : attributes_)
    if (key == name) return value;
  throw testing::BadRequest(cat("no attribute '", name, "'"));
}

Length Values::length(std::string_view name) const {
  for (const Put& p : lengths_)
    if (p.where->field == name) return p.value;
  return get<int64_t>(name);
}

Shape Values::shape(std::string_view name) const {
  Shape s = get<Shape>(name);
  for (const Put& p : lengths_)
    if (p.where->field == name) s[p.where->entry] = p.value;
  return s;
}

/// Puts lengths over what a record holds.
class LengthWriter final : public FieldVisitor {
 public:
  explicit LengthWriter(const Values& values) : values_(values) {}
  void visit(std::string_view, bool&) override {}
  void visit(std::string_view name, int64_t& v) override { put(name, v); }
  void visit(std::string_view, double&) override {}
  void visit(std::string_view, std::string&) override {}
  void visit(std::string_view, DType&) override {}
  void visit(std::string_view name, Shape& v) override {
    for (const Values::Put& p : values_.lengths_)
      if (p.where->field == name) v[p.where->entry] = p.value;
  }
  void visit(std::string_view name, std::optional<int64_t>& v) override { put(name, v); }
  void visit(std::string_view, std::optional<double>&) override {}
#if TANDEM_FIVE_WAYS_SYMBOLS
  void visit(std::string_view name, Length& v) override { put(name, v); }
  void visit(std::string_view name, std::optional<Length>& v) override { put(name, v); }
#endif

 private:
  template <class T>
  void put(std::string_view name, T& v) {
    for (const Values::Put& p : values_.lengths_)
      if (p.where->field == name) v = p.value;
  }
  const Values& values_;
};

void Values::write(const OpInfo& info, void* op) const {
  testing::FieldWriter writer(attributes_);
  info.visit(op, writer);
  if (lengths_.empty()) return;
  LengthWriter lengths(*this);
  info.visit(op, lengths);
}

namespace {

/// The attributes that are plain integers to a record.
class PlainIntegers final : public FieldVisitor {
 public:
  std::vector<std::string> names;
  void visit(std::string_view, bool&) override {}
  void visit(std::string_view name, int64_t&) override { names.emplace_back(name); }
  void visit(std::string_view, double&) override {}
  void visit(std::string_view, std::string&) override {}
  void visit(std::string_view, DType&) override {}
  void visit(std::string_view, Shape&) override {}
  void visit(std::string_view name, std::optional<int64_t>&) override { names.emplace_back(name); }
  void visit(std::string_view, std::optional<double>&) override {}
#if TANDEM_FIVE_WAYS_SYMBOLS
  void visit(std::string_view, Length&) override {}
  void visit(std::string_view, std::optional<Length>&) override {}
#endif
};

/// The names of the records' structs, in the order of the table.
std::vector<std::string> struct_names() {
  std::vector<std::string> names(1);
  for (const char* p = op_structs(); *p; ++p)
    if (*p == ',') names.emplace_back();
    else names.back() += *p;
  return names;
}

/// Records whose gradients' inputs only a forward pass can give, or that read memory by addresses
/// that a random program cannot know.
bool callable_alone(const OpInfo& info) {
  return info.name != "rnn_grad" && info.name != "lstm_grad" && info.name != "gru_grad";
}

std::vector<Callable> make_catalogue() {
  std::vector<Callable> all;
  const std::vector<std::string> names = struct_names();
  size_t number = 0;
  for (const OpInfo* info : ops()) {
    const std::string& struct_name = names.at(number++);
    if (!callable_alone(*info)) continue;
    Callable c{Step::record, std::string(info->name), struct_name, info, nullptr, nullptr, {}};
    SampleSet set;
    info->samples(set);
    for (const Sample& s : set.samples) {
      if (!s.error.empty()) continue;
      testing::FieldReader reader;
      info->visit(s.op.get(), reader);
      c.samples.push_back({reader.fields, s.in, s.gradient});
    }
    all.push_back(std::move(c));
  }
  for (const Function& f : functions())
    all.push_back({Step::function, std::string(f.name), "", nullptr, &f, nullptr, f.samples});
  for (const LayerKind& l : layers())
    all.push_back({Step::layer, std::string(l.name), "", nullptr, nullptr, &l, l.samples});
  return all;
}

}  // namespace

const std::vector<Callable>& catalogue() {
  static const std::vector<Callable> all = make_catalogue();
  return all;
}

const Callable* find_callable(Step::Kind kind, std::string_view name) {
  for (const Callable& c : catalogue())
    if (c.kind == kind && c.name == name) return &c;
  return nullptr;
}

bool decides_by_attribute(const Step& step) {
  const Callable* c = find_callable(step.kind, step.name);
  if (!c || !c->info || step.computed.empty()) return false;
  const testing::OwnedOp op(*c->info);
  PlainIntegers plain;
  c->info->visit(op.get(), plain);
  return std::any_of(step.computed.begin(), step.computed.end(), [&](const Computed& a) {
    return std::find(plain.names.begin(), plain.names.end(), a.field) != plain.names.end();
  });
}

bool draws(const Step& step) {
  if (step.kind == Step::layer)
    return std::any_of(step.attributes.begin(), step.attributes.end(), [](const auto& a) {
      return a.first == "dropout" && std::get<double>(a.second) > 0;
    });
  if (step.kind != Step::function) return false;
  const Callable* c = find_callable(step.kind, step.name);
  return c && c->function->draws;
}

}  // namespace tandem::five_ways
