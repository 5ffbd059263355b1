#include "tests/five_ways/program.h"

#include <algorithm>
#include <set>

namespace tandem::five_ways {
namespace {

using testing::BadRequest;

constexpr std::string_view expr_names[] = {"number", "size", "numel", "add",   "sub",  "mul", "div",
                                           "min",    "max",  "real",  "ratio", "sqrt", "log"};
constexpr std::string_view step_names[] = {"record", "function",   "layer", "read", "write",
                                           "cond",   "while_loop", "fold",  "walk", "decide"};
constexpr std::string_view index_names[] = {"integer", "range",    "all",
                                            "none",    "ellipsis", "tensor"};
constexpr std::string_view fill_names[] = {"normal",   "positive", "unit",   "index",
                                           "distinct", "mask",     "listed", "absent"};
/// Of the alternatives of FieldValue, in their order.
constexpr std::string_view type_names[] = {"bool",  "int",  "float", "str",
                                           "dtype", "ints", "int?",  "float?"};

template <size_t n>
int named(const std::string_view (&names)[n], const Json& j) {
  const std::string text = j.get<std::string>();
  for (size_t i = 0; i < n; ++i)
    if (names[i] == text) return int(i);
  throw BadRequest(cat("'", text, "' is not known here"));
}

// --- To JSON -----------------------------------------------------------------------------------

Json json_of(const Expr& e) {
  Json j = {{"kind", std::string(expr_names[e.kind])}};
  if (e.kind == Expr::number || e.kind == Expr::real) j["value"] = testing::number_json(e.value);
  if (e.of >= 0) j["of"] = e.of;
  if (e.kind == Expr::size) j["axis"] = e.axis;
  for (const Expr& part : e.parts) j["parts"].push_back(json_of(part));
  return j;
}
Json json_of(const std::optional<Expr>& e) { return e ? json_of(*e) : Json(); }

Json json_of(const Attributes& attributes) {
  Json j = Json::object();
  for (const auto& [name, value] : attributes)
    j[name] = {{"type", std::string(type_names[value.index()])},
               {"value", std::visit(testing::FieldToJson{}, value)}};
  return j;
}

Json json_of(const std::vector<Step>& steps);
Json json_of(const Step& s) {
  Json j = {{"kind", std::string(step_names[s.kind])}, {"name", s.name}};
  if (!s.attributes.empty()) j["attributes"] = json_of(s.attributes);
  for (const Computed& c : s.computed)
    j["computed"].push_back({{"field", c.field}, {"entry", c.entry}, {"expr", json_of(c.expr)}});
  j["in"] = Json::array();
  for (const Operand& o : s.in)
    j["in"].push_back(o.number ? json_of(*o.number) : o.value >= 0 ? Json(o.value) : Json());
  if (s.in_place) j["in_place"] = true;
  for (const IndexItem& i : s.index)
    j["index"].push_back({{"kind", std::string(index_names[i.kind])},
                          {"start", json_of(i.start)},
                          {"stop", json_of(i.stop)},
                          {"step", i.step},
                          {"value", i.value}});
  for (const Block& b : s.blocks)
    j["blocks"].push_back(
        {{"arguments", b.arguments}, {"steps", json_of(b.steps)}, {"results", b.results}});
  j["out"] = s.out;
  return j;
}
Json json_of(const std::vector<Step>& steps) {
  Json all = Json::array();
  for (const Step& s : steps) all.push_back(json_of(s));
  return all;
}

Json json_of(const Input& in) {
  Json shape = Json::array();
  for (const Input::Axis& a : in.shape)
    shape.push_back(a.symbol >= 0 ? Json(cat("n", a.symbol)) : Json(a.length));
  Json values = Json::array();
  for (double v : in.values) values.push_back(testing::number_json(v));
  return {{"id", in.id},
          {"role", in.role == Input::fed ? "fed" : "parameter"},
          {"shape", shape},
          {"dtype", std::string(name(in.dtype))},
          {"fill", std::string(fill_names[in.fill])},
          {"scale", testing::number_json(in.scale)},
          {"shift", testing::number_json(in.shift)},
          {"below", in.below},
          {"values", values},
          {"last", testing::number_json(in.last)},
          {"layout", std::string(layout_names[int(in.layout)])},
          {"gradient", in.gradient}};
}

// --- From JSON ---------------------------------------------------------------------------------

Expr expr_of(const Json& j) {
  Expr e;
  e.kind = Expr::Kind(named(expr_names, j.at("kind")));
  if (j.contains("value")) e.value = testing::number_of(j["value"]);
  e.of = j.value("of", -1);
  e.axis = j.value("axis", 0);
  if (j.contains("parts"))
    for (const Json& part : j["parts"]) e.parts.push_back(expr_of(part));
  return e;
}
std::optional<Expr> maybe_expr(const Json& j) {
  return j.is_null() ? std::nullopt : std::optional(expr_of(j));
}

FieldValue field_of(const Json& j) {
  static const FieldValue kinds[] = {false,
                                     int64_t(0),
                                     0.0,
                                     std::string(),
                                     f32,
                                     Shape(),
                                     std::optional<int64_t>(),
                                     std::optional<double>()};
  FieldValue v = kinds[named(type_names, j.at("type"))];
  std::visit(testing::FieldFromJson{j.at("value")}, v);
  return v;
}

std::vector<Step> steps_of(const Json& list);
Step step_of(const Json& j) {
  Step s;
  s.kind = Step::Kind(named(step_names, j.at("kind")));
  s.name = j.at("name");
  if (j.contains("attributes"))
    for (const auto& [name, value] : j["attributes"].items())
      s.attributes.emplace_back(name, field_of(value));
  if (j.contains("computed"))
    for (const Json& c : j["computed"])
      s.computed.push_back({c.at("field"), c.at("entry"), expr_of(c.at("expr"))});
  for (const Json& o : j.at("in")) {
    Operand operand;
    if (o.is_object()) operand.number = expr_of(o);
    else if (!o.is_null()) operand.value = o.get<int>();
    s.in.push_back(operand);
  }
  s.in_place = j.value("in_place", false);
  if (j.contains("index"))
    for (const Json& i : j["index"])
      s.index.push_back({IndexItem::Kind(named(index_names, i.at("kind"))),
                         maybe_expr(i.at("start")), maybe_expr(i.at("stop")), i.at("step"),
                         i.at("value")});
  if (j.contains("blocks"))
    for (const Json& b : j["blocks"])
      s.blocks.push_back({b.at("arguments"), steps_of(b.at("steps")), b.at("results")});
  s.out = j.at("out").get<std::vector<int>>();
  return s;
}
std::vector<Step> steps_of(const Json& list) {
  std::vector<Step> all;
  for (const Json& j : list) all.push_back(step_of(j));
  return all;
}

Input input_of(const Json& j) {
  Input in;
  in.id = j.at("id");
  in.role = j.at("role") == "fed" ? Input::fed : Input::parameter;
  for (const Json& a : j.at("shape")) {
    if (a.is_string()) in.shape.push_back({1, std::stoi(a.get<std::string>().substr(1))});
    else in.shape.push_back({a.get<int64_t>(), -1});
  }
  in.dtype = testing::dtype_named(j.at("dtype"));
  in.fill = InputSpec::Fill(named(fill_names, j.at("fill")));
  in.scale = testing::number_of(j.at("scale"));
  in.shift = testing::number_of(j.at("shift"));
  in.below = j.at("below");
  for (const Json& v : j.at("values")) in.values.push_back(testing::number_of(v));
  in.last = testing::number_of(j.at("last"));
  in.layout = Layout(named(layout_names, j.at("layout")));
  in.gradient = j.at("gradient");
  return in;
}

}  // namespace

bool Program::has_gradient() const {
  if (std::any_of(inputs.begin(), inputs.end(), [](const Input& i) { return i.gradient; }))
    return true;
  bool layers = false;
  each_step(steps, [&](const Step& s) { layers = layers || s.kind == Step::layer; });
  return layers;
}

const Input* Program::find_input(int id) const {
  for (const Input& in : inputs)
    if (in.id == id) return &in;
  return nullptr;
}

std::set<int> needed_values(const Program& p) {
  std::set<int> needed(p.results.begin(), p.results.end());
  each_step(p.steps, [&](const Step& s) {
    for (const Block& b : s.blocks) needed.insert(b.results.begin(), b.results.end());
    if (s.kind == Step::function && s.name.ends_with("_like")) return;
    for (const Operand& o : s.in)
      if (o.value >= 0) needed.insert(o.value);
    for (const IndexItem& i : s.index)
      if (i.value >= 0) needed.insert(i.value);
  });
  return needed;
}

std::vector<std::string> calls_of(const Program& p) {
  std::set<std::string> names;
  each_step(p.steps, [&](const Step& s) {
    const std::string base = s.kind == Step::record || s.kind == Step::function ||
                                     s.kind == Step::layer || s.kind == Step::fold
                                 ? s.name
                                 : std::string(step_names[s.kind]);
    names.insert(s.in_place ? base + "_" : base);
  });
  return {names.begin(), names.end()};
}

Shape shape_at(const Input& input, const std::vector<int64_t>& lengths) {
  Shape s;
  for (const Input::Axis& a : input.shape)
    s.push_back(a.symbol >= 0 ? lengths.at(size_t(a.symbol)) : a.length);
  return s;
}

Json to_json(const Program& p) {
  Json inputs = Json::array();
  for (const Input& in : p.inputs) inputs.push_back(json_of(in));
  return {{"seed", p.seed},       {"inputs", inputs},  {"steps", json_of(p.steps)},
          {"results", p.results}, {"calls", p.calls},  {"optimizer", p.optimizer},
          {"clips", p.clips},     {"values", p.values}};
}

Program program_of(const Json& j) {
  Program p;
  p.seed = j.at("seed");
  for (const Json& in : j.at("inputs")) p.inputs.push_back(input_of(in));
  p.steps = steps_of(j.at("steps"));
  p.results = j.at("results").get<std::vector<int>>();
  p.calls = j.at("calls").get<std::vector<std::vector<int64_t>>>();
  p.optimizer = j.at("optimizer");
  p.clips = j.at("clips");
  p.values = j.at("values");
  return p;
}

}  // namespace tandem::five_ways
