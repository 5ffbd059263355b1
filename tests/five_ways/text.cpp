#include "tests/five_ways/text.h"

#include <cmath>

#include "tests/five_ways/catalogue.h"

namespace tandem::five_ways {
namespace {

std::string joined(const std::vector<std::string>& parts, std::string_view between = ", ") {
  std::string s;
  for (const std::string& p : parts) s += cat(s.empty() ? "" : between, p);
  return s;
}

std::string real_text(double v) {
  if (std::isnan(v)) return "NAN";
  if (std::isinf(v)) return v > 0 ? "HUGE_VAL" : "-HUGE_VAL";
  std::string s = cat(v);
  if (s.find_first_of(".en") == s.npos) s += ".0";
  return s;
}

std::string expr_text(const Expr& e) {
  auto part = [&](size_t i) { return expr_text(e.parts[i]); };
  auto infix = [&](std::string_view op) { return cat("(", part(0), op, part(1), ")"); };
  switch (e.kind) {
    case Expr::number: return cat("int64_t(", int64_t(e.value), ")");
    case Expr::size: return cat("v", e.of, ".size(", e.axis, ")");
    case Expr::numel: return cat("v", e.of, ".numel()");
    case Expr::add: return infix(" + ");
    case Expr::sub: return infix(" - ");
    case Expr::mul: return infix(" * ");
    case Expr::div: return infix(" / ");
    case Expr::min: return cat("min(", part(0), ", ", part(1), ")");
    case Expr::max: return cat("max(", part(0), ", ", part(1), ")");
    case Expr::real: return real_text(e.value);
    case Expr::ratio: return infix(" / ");
    case Expr::sqrt: return cat("sqrt(", part(0), ")");
    case Expr::log: return cat("log(", part(0), ")");
  }
  return "";
}

std::string operand_text(const Operand& o) {
  if (o.number) {
    if (o.number->kind == Expr::number) return cat("Tensor(", int64_t(o.number->value), ")");
    return cat("Tensor(", expr_text(*o.number), ")");
  }
  return o.value >= 0 ? cat("v", o.value) : "Tensor()";
}

std::string inputs_text(const Step& s) {
  std::vector<std::string> parts;
  for (const Operand& o : s.in) parts.push_back(operand_text(o));
  return joined(parts);
}

/// The value of an attribute, with what is made from lengths in its place.
std::string attribute_text(const Step& s, const std::string& name, const FieldValue& value) {
  const auto* shape = std::get_if<Shape>(&value);
  std::vector<std::string> entries;
  if (shape)
    for (int64_t v : *shape) entries.push_back(cat(v));
  bool computed = false;
  for (const Computed& c : s.computed) {
    if (c.field != name) continue;
    if (c.entry < 0) return expr_text(c.expr);
    entries[size_t(c.entry)] = expr_text(c.expr);
    computed = true;
  }
  return computed ? cat("{", joined(entries), "}") : cpp_value(value);
}

/// "Softmax{.axis = 1}": attributes that have not their default values.
std::string record_text(const Step& s, const Callable& c) {
  const testing::OwnedOp plain(*c.info);
  testing::FieldReader defaults;
  c.info->visit(plain.get(), defaults);
  std::vector<std::string> parts;
  for (size_t i = 0; i < s.attributes.size(); ++i) {
    const auto& [name, value] = s.attributes[i];
    const std::string text = attribute_text(s, name, value);
    if (text != cpp_value(defaults.fields[i].second)) parts.push_back(cat(".", name, " = ", text));
  }
  return cat(c.struct_name, "{", joined(parts), "}");
}

/// A pattern of functions() or layers() with its $ replaced.
std::string filled(std::string_view pattern, const Step& s) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '$') {
      out += pattern[i];
      continue;
    }
    size_t end = i + 1;
    while (end < pattern.size() && (std::isalnum(pattern[end]) || pattern[end] == '_')) ++end;
    const std::string name(pattern.substr(i + 1, end - i - 1));
    if (std::isdigit(name[0])) out += operand_text(s.in[size_t(std::stoi(name))]);
    for (const auto& [key, value] : s.attributes) {
      if (key != name) continue;
      if (std::holds_alternative<Shape>(value)) out += "Shape";
      out += attribute_text(s, key, value);
    }
    i = end - 1;
  }
  return out;
}

std::string index_text(const Step& s) {
  std::vector<std::string> parts;
  auto bound = [](const std::optional<Expr>& e) {
    return !e ? "none" : e->kind == Expr::number ? cat(int64_t(e->value)) : expr_text(*e);
  };
  for (const IndexItem& i : s.index) switch (i.kind) {
      case IndexItem::integer: parts.push_back(bound(i.start)); break;
      case IndexItem::range:
        parts.push_back(cat("range(", bound(i.start), ", ", bound(i.stop), ", ", i.step, ")"));
        break;
      case IndexItem::all: parts.push_back("all"); break;
      case IndexItem::none: parts.push_back("none"); break;
      case IndexItem::ellipsis: parts.push_back("ellipsis"); break;
      case IndexItem::tensor: parts.push_back(cat("v", i.value)); break;
    }
  return cat(operand_text(s.in[0]), "(", joined(parts), ")");
}

// --- Statements --------------------------------------------------------------------------------

/// "[&](PARAMETERS) -> RESULT { ... }" for a block.
std::string lambda(const Block& b, const std::string& parameters, bool list,
                   const std::string& first, const std::string& indent) {
  std::vector<std::string> results;
  for (int id : b.results) results.push_back(cat("v", id));
  const std::string inner = indent + "  ";
  return cat("[&](", parameters, ") -> ", list ? "List" : "Tensor", " {\n", first,
             cpp_steps(b.steps, inner), inner, "return ",
             list ? cat("{", joined(results), "}") : results.at(0), ";\n", indent, "}");
}

/// "Tensor v7 = t[0];" for each result.
std::string unpack(const Step& s, const std::string& made, const std::string& indent,
                   std::string_view type = "const auto") {
  int first = -1;
  for (int id : s.out)
    if (first < 0) first = id;
  if (first < 0) return cat(indent, made, ";\n");
  std::string out = cat(indent, type, " t", first, " = ", made, ";\n");
  for (size_t k = 0; k < s.out.size(); ++k)
    if (s.out[k] >= 0)
      out += cat(indent, "Tensor v", s.out[k], " = t", first, "[", int64_t(k), "];\n");
  return out;
}

std::string region_text(const Step& s, const std::string& indent) {
  if (s.kind == Step::cond)
    return unpack(
        s,
        cat("cond(", operand_text(s.in[0]), ", ", lambda(s.blocks[0], "", true, "", indent), ", ",
            lambda(s.blocks[1], "", true, "", indent), ")"),
        indent);
  if (s.kind == Step::while_loop) {
    auto names = [&](const Block& b) {
      std::string first;
      for (size_t i = 0; i < b.arguments.size(); ++i)
        first += cat(indent, "  Tensor v", b.arguments[i], " = a[", int64_t(i), "];\n");
      return first;
    };
    return unpack(
        s,
        cat("while_loop(",
            lambda(s.blocks[0], "const Tensors& a", false, names(s.blocks[0]), indent), ", ",
            lambda(s.blocks[1], "const Tensors& a", true, names(s.blocks[1]), indent), ", List{",
            inputs_text(s), "})"),
        indent);
  }
  std::vector<std::string> parameters;
  for (int id : s.blocks[0].arguments) parameters.push_back(cat("const Tensor& v", id));
  return cat(indent, "Tensor v", s.out[0], " = ", s.name, "(",
             lambda(s.blocks[0], joined(parameters), false, "", indent), ", ", inputs_text(s),
             ");\n");
}

std::string walk_text(const Step& s, const std::string& indent) {
  const Block& b = s.blocks[0];
  const std::string sum = cat("v", s.out[0]), in = indent + "  ";
  return cat(indent, "Tensor ", sum, " = ", operand_text(s.in[1]), ";\n", indent,
             "for (int64_t i = 0; i < ", operand_text(s.in[0]), ".size(0); ++i) {\n", in,
             "Tensor v", b.arguments[0], " = ", sum, ", v", b.arguments[1], " = ",
             operand_text(s.in[0]), "[i];\n", cpp_steps(b.steps, in), in, sum, " = v", b.results[0],
             ";\n", indent, "}\n");
}

std::string decision_text(const Step& s, const std::string& indent) {
  std::string out = cat(indent, "Tensor v", s.out[0], ";\n", indent, "if (",
                        expr_text(*s.in[0].number), " > ", expr_text(*s.in[1].number), ") {\n");
  for (size_t i = 0; i < 2; ++i)
    out += cat(cpp_steps(s.blocks[i].steps, indent + "  "), indent, "  v", s.out[0], " = v",
               s.blocks[i].results[0], ";\n", indent, i == 0 ? "} else {\n" : "}\n");
  return out;
}

std::string in_place_text(const Step& s, const Callable& c) {
  const std::string x = operand_text(s.in[0]);
  constexpr std::pair<std::string_view, std::string_view> signs[] = {
      {"add", " += "}, {"sub", " -= "}, {"mul", " *= "}, {"div", " /= "}};
  if (s.attributes.empty() || s.name == "div")
    for (const auto& [name, sign] : signs)
      if (s.name == name && record_text(s, c) == c.struct_name + "{}")
        return cat(x, sign, operand_text(s.in[1]));
  if (s.name == "copy_into") return cat(x, ".copy_(", operand_text(s.in[1]), ")");
  if (s.in.size() == 1) return cat("detail::write_over(", record_text(s, c), ", ", x, ")");
  return cat("apply_inplace(", record_text(s, c), ", {", inputs_text(s), "})");
}

std::string step_text(const Step& s, const std::string& indent) {
  const Callable* c = find_callable(s.kind, s.name);
  switch (s.kind) {
    case Step::record: {
      if (s.in_place) return cat(indent, in_place_text(s, *c), ";\n");
      const std::string call = cat(record_text(s, *c), ", {", inputs_text(s), "})");
      if (c->info->outputs > 1) return unpack(s, cat("apply_all(", call), indent);
      return cat(indent, "Tensor v", s.out[0], " = apply(", call, ";\n");
    }
    case Step::function:
      return cat(indent, "Tensor v", s.out[0], " = ", filled(c->function->text, s), ";\n");
    case Step::layer: {
      const std::string call = cat("layer", s.out[0], "(", inputs_text(s), ")");
      if (c->layer->result.empty()) return cat(indent, "Tensor v", s.out[0], " = ", call, ";\n");
      std::string out = cat(indent, "const auto t", s.out[0], " = ", call, ";\n");
      std::string_view members = c->layer->result;
      for (int id : s.out) {
        const size_t comma = members.find(", ");
        if (id >= 0)
          out += cat(indent, "Tensor v", id, " = t", s.out[0], members.substr(0, comma), ";\n");
        members = comma == members.npos ? "" : members.substr(comma + 2);
      }
      return out;
    }
    case Step::read: return cat(indent, "Tensor v", s.out[0], " = ", index_text(s), ";\n");
    case Step::write:
      return cat(indent, index_text(s), " ", s.name, " ", operand_text(s.in[1]), ";\n");
    case Step::cond:
    case Step::while_loop:
    case Step::fold: return region_text(s, indent);
    case Step::walk: return walk_text(s, indent);
    case Step::decide: return decision_text(s, indent);
  }
  return "";
}

struct ValueText {
  std::string operator()(bool v) const { return v ? "true" : "false"; }
  std::string operator()(int64_t v) const { return v == INT64_MIN ? "INT64_MIN" : cat(v); }
  std::string operator()(double v) const { return real_text(v); }
  std::string operator()(const std::string& v) const { return cat('"', v, '"'); }
  std::string operator()(DType v) const { return v == boolean ? "boolean" : std::string(name(v)); }
  std::string operator()(const Shape& v) const { return cpp_shape(v); }
  template <class T>
  std::string operator()(const std::optional<T>& v) const {
    return v ? (*this)(*v) : "std::nullopt";
  }
};

}  // namespace

std::string cpp_value(const FieldValue& v) { return std::visit(ValueText{}, v); }

std::string cpp_shape(const Shape& s) {
  std::vector<std::string> parts;
  for (int64_t v : s) parts.push_back(cat(v));
  return cat("{", joined(parts), "}");
}

std::string cpp_layer(const Step& s) {
  return filled(find_callable(Step::layer, s.name)->layer->text, s);
}

std::string cpp_steps(const std::vector<Step>& steps, const std::string& indent) {
  std::string out;
  for (const Step& s : steps) out += step_text(s, indent);
  return out;
}

}  // namespace tandem::five_ways
