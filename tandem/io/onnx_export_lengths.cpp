// Unknown lengths in ONNX: each is read from the shape of an input, expressions of them are
// calculated by the file's own operators.
#include <cmath>

#include "tandem/core/length_table.h"
#include "tandem/io/detail/onnx_export.h"

namespace tandem::detail {

using onnx::Attribute;

namespace {
/// The names that unknown lengths have in the file; it notes which are asked for.
struct AxisNames final : SymbolNames {
  const std::vector<std::string>& names;
  std::set<int>& read;
  AxisNames(const std::vector<std::string>& n, std::set<int>& r) : names(n), read(r) {}
  std::string name(const LengthTable&, int symbol) const override {
    read.insert(symbol);
    return names[size_t(symbol)];
  }
};
}  // namespace

/// Lengths without a name are called after the axis of an input that has them.
void OnnxExporter::name_axes() {
  const auto& table = graph_->lengths();
  if (!table) return;
  std::unordered_set<std::string> taken;
  for (int i = 0; i < table->symbols(); ++i) taken.insert(table->name_of(i));
  for (int i = 0; i < table->symbols(); ++i) {
    InputAxis found;
    std::string name = table->name_of(i);
    for (const bool needed : {true, false})
      for (graph::ValueId id : graph_->inputs()) {
        const Shape& s = graph_->value(id).spec.shape;
        for (int a = 0; a < s.size() && found.input < 0; ++a)
          if (s[a].bits() == table->symbol_at(i).bits() && needed_.contains(id) == needed)
            found = {id, a, names_[size_t(id)]};
      }
    lengths_.push_back(found);
    if (name.empty()) {
      const std::string wish = found.input < 0 ? "length"
                               : found.axis    ? cat("axis", found.axis)
                                               : "batch";
      name = wish;
      for (int k = 1; !taken.insert(name).second; ++k) name = cat(wish, "_", k);
    }
    axis_names_.push_back(std::move(name));
  }
}

std::string OnnxExporter::text_of(Length d) const {
  return d.is_known() ? cat(int64_t(d)) : to_text(d, AxisNames(axis_names_, read_lengths_));
}
std::string OnnxExporter::text_of(Number v) const {
  return to_text(v, AxisNames(axis_names_, read_lengths_));
}

bool OnnxExporter::open(const Shape& shape) const { return !shape.is_known(); }

/// What was emitted for that text before, or what `make` emits now.
template <class F>
std::string OnnxExporter::once(const std::string& key, const F& make) {
  if (const auto it = emitted_.find(key); it != emitted_.end()) return it->second;
  const std::string name = make();
  return emitted_[key] = name;
}

/// A length as an i64[1].
std::string OnnxExporter::length(Length d) {
  if (d.is_known()) return ints({int64_t(d)});
  return once("length " + text_of(d), [&] { return emit_length(d); });
}

std::string OnnxExporter::emit_length(Length d) {
  using Kind = LengthTable::Kind;
  const auto table = LengthTable::of(d);
  const LengthTable::Entry& e = table->entry(d);
  auto both = [&](const char* op, Attributes attributes = {}) {
    const std::string a = length(e.a), b = length(e.b);
    return emit(op, {a, b}, std::move(attributes));
  };
  switch (e.kind) {
    case Kind::symbol: {
      const InputAxis& at = lengths_[size_t(e.symbol)];
      require<NotImplemented>(at.input >= 0, "save(): no input has the length \"",
                              axis_names_[size_t(e.symbol)], "\"");
      return emit("Gather", {emit("Shape", {at.name}), ints({at.axis})},
                  {Attribute::of("axis", 0)});
    }
    case Kind::sum: {
      std::string total;
      for (const LengthTable::Term& t : e.terms) {
        std::string product;
        for (Length atom : t.atoms) {
          const std::string one = length(atom);
          product = product.empty() ? one : emit("Mul", {product, one});
        }
        if (product.empty()) product = ints({t.factor});
        else if (t.factor != 1) product = emit("Mul", {product, ints({t.factor})});
        total = total.empty() ? product : emit("Add", {total, product});
      }
      return total;
    }
    case Kind::quotient: return both("Div");
    case Kind::remainder: return both("Mod", {Attribute::of("fmod", 1)});
    case Kind::minimum: return both("Min");
    case Kind::maximum: return both("Max");
    case Kind::from_end: {
      const std::string i = length(e.a), n = length(e.b);
      return emit("Where", {emit("Less", {i, ints({0})}), emit("Add", {i, n}), i});
    }
    default: {
      const std::string a = length(e.a), b = length(e.b);
      return emit("Where", {emit("Equal", {a, ints({1})}), b, a});
    }
  }
}

/// A number as an f64[1].
std::string OnnxExporter::number(Number v) {
  if (v.is_known()) return filled(double(v), 1, f64);
  return once("number " + text_of(v), [&] { return emit_number(v); });
}

std::string OnnxExporter::emit_number(Number v) {
  const auto table = LengthTable::of(v);
  const LengthTable::Entry& e = table->entry(v);
  if (e.kind != LengthTable::Kind::real) return cast(length(table->length_of(v)), i64, f64);
  if (e.name.empty()) return cast(length(e.a), i64, f64);
  const std::string x = number(e.x);
  if (e.name == "log2" || e.name == "log10")
    return emit("Div", {emit("Log", {x}), filled(std::log(e.name == "log2" ? 2.0 : 10.0), 1, f64)});
  if (e.name.size() > 1 && e.name != "pow") {
    std::string op = e.name;
    op[0] = char(op[0] - 'a' + 'A');  // Sqrt, Exp, Log, Floor, Ceil
    return emit(op, {x});
  }
  const std::string y = number(e.y);
  const char* op = e.name == "+"   ? "Add"
                   : e.name == "-" ? "Sub"
                   : e.name == "*" ? "Mul"
                   : e.name == "/" ? "Div"
                                   : "Pow";
  return emit(op, {x, y});
}

std::string OnnxExporter::lengths(std::span<const Length> list) {
  std::vector<int64_t> known;
  std::string key = "shape";
  for (Length d : list) {
    if (d.is_known()) known.push_back(int64_t(d));
    key += " " + text_of(d) + ",";
  }
  if (known.size() == list.size()) return ints(known);
  return once(key, [&] {
    Names parts;
    for (Length d : list) parts.push_back(length(d));
    return parts.size() == 1 ? parts[0] : emit("Concat", parts, {Attribute::of("axis", 0)});
  });
}

std::string OnnxExporter::scalar(Length value, DType dtype) {
  if (value.is_known()) return scalar(double(int64_t(value)), dtype);
  return reshape(cast(length(value), i64, dtype), {});
}
std::string OnnxExporter::scalar(Number value, DType dtype) {
  if (value.is_known()) return scalar(double(value), dtype);
  return reshape(cast(number(value), f64, dtype), {});
}

}  // namespace tandem::detail
