// The frame of a printed program: inputs, state, and the way that differs beside plain code.
#include "tandem/tandem.h"
#include "tests/five_ways/machine.h"
#include "tests/five_ways/text.h"

namespace tandem::five_ways {
namespace {

// What a printed program needs of its own, each only where it is used.
constexpr std::string_view make_text = R"(
Tensor make(const Shape& shape, DType dtype, std::vector<double> values) {
  return wrap(std::move(values), shape).to(dtype);
}
)";
constexpr std::string_view drawn_text = R"(
Tensor drawn(const Shape& shape, DType dtype, InputSpec::Fill fill, double scale, double shift,
             uint64_t seed) {
  return testing::make_input(sample::filled(shape, fill, dtype, scale, shift), seed);
}
)";
constexpr std::string_view last_text = R"(
Tensor with_last(const Tensor& t, double value) {
  t.reshape({-1})[-1] = value;
  return t;
}
)";
constexpr std::string_view leaf_text = R"(
Tensor leaf(Tensor t) {
  t.requires_grad_();
  return t;
}
)";
constexpr std::string_view part_text = R"(
Tensor part(const Tensors& parts, size_t i) {
  require<IndexError>(i < parts.size(), "there is no part ", i);
  return parts[i];
}
)";
constexpr std::string_view layout_text = R"(
// The same values, otherwise in memory.
Tensor lay_transposed(const Tensor& t) {
  Shape back;
  for (int a = t.dim(); a-- > 0;) back.push_back(a);
  return contiguous(t.permute(back)).permute(back).detach();
}
Tensor lay_expanded(const Tensor& t) {
  return slice(t, 0, 0, 1).clone().expand(t.shape()).detach();
}
Tensor lay_apart(const Tensor& t, bool stepped) {
  Shape wide = t.shape();
  for (auto& d : wide) d += 2;
  const int last = t.dim() - 1;
  if (stepped) wide[last] = 2 * wide[last];
  Tensor part = full(wide, t.dtype() == boolean ? 1 : 77, t.dtype());
  for (int a = 0; a <= last; ++a) {
    const int64_t step = stepped && a == last ? 2 : 1;
    part = slice(part, a, 1, 1 + t.size(a) * step, step);
  }
  part.copy_(t);
  return part.detach();
}
)";
constexpr std::string_view report_text = R"(
template <class F>
void report(const std::string& what, F f) {
  try {
    for (const Tensor& t : f())
      std::printf("%-24s %s %s\n", what.c_str(), to_string(t.spec()).c_str(),
                  to_string(t.detach()).c_str());
  } catch (const std::exception& e) {
    std::printf("%-24s throws %s\n", what.c_str(), e.what());
  }
}
)";
constexpr std::string_view loss_text = R"(
// The sum of all results, each element with a weight of its own.
Tensor loss_of(const List& results) {
  Tensor total = zeros({});
  for (const Tensor& t : results)
    if (is_floating(t.dtype()) && t.requires_grad())
      total = total + sum(t.to(t.dtype() == f64 ? f64 : f32) * (tanh(t.detach()) + 0.3));
  return total;
}
List gradients_of(const List& results, const List& by) {
  const Tensor loss = loss_of(results);
  Tensors found(by.size());
  if (loss.requires_grad()) found = grad(std::span(&loss, 1), by, {}, {.allow_unused = true});
  for (size_t i = 0; i < by.size(); ++i)
    if (!found[i].defined()) found[i] = zeros_like(by[i]);
  return List(found.begin(), found.end());
}
)";

std::string numbers(const Tensor& t) {
  std::string s = "{";
  for (double v : t.to_vector<double>()) s += cat(s.size() > 1 ? ", " : "", cpp_value(v));
  return s + "}";
}

std::string dtype_text(DType d) { return cpp_value(d); }

/// The values of an input, or how they are drawn when there are many.
std::string values_text(const Program& p, const Input& in, int call) {
  const Tensor t = make_input(p, in, call);
  constexpr std::string_view fills[] = {"normal",   "positive", "unit",   "index",
                                        "distinct", "mask",     "listed", "absent"};
  std::string text;
  if (t.numel() <= 48 || in.fill == InputSpec::listed)
    text = cat("make(", cpp_shape(t.shape()), ", ", dtype_text(in.dtype), ", ", numbers(t), ")");
  else
    text = cat("drawn(", cpp_shape(t.shape()), ", ", dtype_text(in.dtype),
               ", InputSpec::", fills[in.fill], ", ", cpp_value(below_of(p, in, call)), ", ",
               cpp_value(in.shift), ", ", input_seed(p, in, call), "ull)");
  if (in.last != 0 && t.numel() > 0) text = cat("with_last(", text, ", ", cpp_value(in.last), ")");
  if (t.dim() > 0) switch (in.layout) {
      case Layout::plain: break;
      case Layout::transposed: text = cat("lay_transposed(", text, ")"); break;
      case Layout::expanded: text = cat("lay_expanded(", text, ")"); break;
      case Layout::stepped: text = cat("lay_apart(", text, ", true)"); break;
      case Layout::cropped: text = cat("lay_apart(", text, ", false)"); break;
    }
  return in.gradient ? cat("leaf(", text, ")") : text;
}

std::string shape_text(const Input& in) {
  std::string s = "{";
  for (size_t a = 0; a < in.shape.size(); ++a) {
    const Input::Axis& axis = in.shape[a];
    s += cat(a ? ", " : "", axis.symbol < 0 ? cat(axis.length)
                            : named_lengths ? cat("dim(\"n", axis.symbol, "\")")
                                            : std::string("-1"));
  }
  return s + "}";
}

/// Parameters and layers.
std::string state_text(const Program& p) {
  std::string s;
  for (const Input& in : p.inputs)
    if (in.role == Input::parameter)
      s += cat("  Tensor v", in.id, " = ", values_text(p, in, 0), ";\n");
  State state(p);
  each_step(p.steps, [&](const Step& step) {
    if (step.kind != Step::layer) return;
    const int id = step.out[0];
    s += cat("  auto layer", id, " = ", cpp_layer(step), ";\n");
    for (const auto& [name, value] : step.attributes)
      if (name == "training") s += cat("  layer", id, ".train(", cpp_value(value), ");\n");
    for (const auto& [name, t] : state.layer(id).module->state_dict())
      if (is_floating(t.dtype()))
        s += cat("  {\n    const NoGrad off;\n    find(layer", id, ".state_dict(), \"", name,
                 "\").copy_(make(", cpp_shape(t.shape()), ", f32, ", numbers(t.detach()),
                 "));\n  }\n");
  });
  return s;
}

std::string leaves_text(const Program& p) {
  std::string s = "  auto leaves = [&](const List& in) {\n    List all;\n";
  int i = 0;
  for (const Input& in : p.inputs) {
    if (in.role == Input::fed && in.gradient) s += cat("    all.push_back(in[", i, "]);\n");
    i += in.role == Input::fed;
  }
  for (const Input& in : p.inputs)
    if (in.role == Input::parameter && in.gradient) s += cat("    all.push_back(v", in.id, ");\n");
  each_step(p.steps, [&](const Step& step) {
    if (step.kind == Step::layer)
      s += cat("    for (const Tensor& t : layer", step.out[0],
               ".parameters()) all.push_back(t);\n");
  });
  return s + "    (void)in;\n    return all;\n  };\n";
}

std::string function_text(const Program& p) {
  std::string s = "  auto f = [&](const List& in) -> List {\n    (void)in;\n";
  int i = 0;
  for (const Input& in : p.inputs)
    if (in.role == Input::fed) s += cat("    Tensor v", in.id, " = in[", i++, "];\n");
  s += cpp_steps(p.steps, "    ") + "    return {";
  for (size_t k = 0; k < p.results.size(); ++k) s += cat(k ? ", v" : "v", p.results[k]);
  return s + "};\n  };\n";
}

std::string feeds_text(const Program& p) {
  std::string s = "  const std::vector<List> feeds = {\n";
  for (size_t c = 0; c < p.calls.size(); ++c) {
    std::string list;
    for (const Input& in : p.inputs)
      if (in.role == Input::fed)
        list += cat(list.empty() ? "" : ",\n        ", values_text(p, in, int(c)));
    s += cat("      List{", list, "},\n");
  }
  return s + "  };\n";
}

/// The loop over all calls for one way.
std::string loop_text(const std::string& body, const Program& p) {
  return cat("  for (size_t c = 0; c < feeds.size(); ++c) {\n    const List& in = feeds[c];\n",
             "    manual_seed(", p.seed % 1000, " + c);\n", body, "  }\n");
}

std::string graph_text(const Program& p) {
  std::string s =
      "  auto graph = Graph::make();\n  List places, results, gradients;\n  {\n"
      "    const GraphScope scope(graph);\n";
  for (const Input& in : p.inputs) {
    if (in.role != Input::fed) continue;
    s += cat("    places.push_back(", in.gradient ? "leaf(" : "", "placeholder(\"v", in.id, "\", ",
             shape_text(in), ", ", dtype_text(in.dtype), in.gradient ? "))" : ")", ");\n");
  }
  s += "    results = f(places);\n";
  if (p.has_gradient())
    s += "    gradients = tandem::gradients(loss_of(results), leaves(places));\n";
  return s + "  }\n";
}

std::string way_text(const Program& p, const std::string& way) {
  const bool gradient = p.has_gradient();
  auto calls = [&](const std::string& run) {
    std::string s = cat("    report(way, [&] { return ", run, "(in); });\n");
    if (gradient)
      s += cat("    manual_seed(", p.seed % 1000,
               " + c);\n    report(way + \" gradient\", [&] { "
               "return gradients_of(",
               run, "(in), leaves(in)); });\n");
    return loop_text(s, p);
  };
  if (way.starts_with("compiled gradient"))
    return cat("  auto g = [&](const List& in) { return gradients_of(f(in), leaves(in)); };\n",
               "  auto c = compile(g, {.every_length = true, .deterministic = ",
               way.ends_with("deterministic") ? "true" : "false",
               "});\n  auto run = [&](const List& in) -> List "
               "{ return way == \"plain\" ? g(in) : "
               "c(in); };\n",
               loop_text("    report(way, [&] { return run(in); });\n", p));
  if (way.starts_with("compiled"))
    return cat("  auto c = compile(f, {.every_length = true, .deterministic = ",
               way == "compiled deterministic" ? "true" : "false",
               "});\n  auto run = [&](const List& in) -> List "
               "{ return way == \"plain\" ? f(in) : "
               "c(in); };\n",
               calls("run"));
  if (way != "session" && way != "saved") return calls("f");
  std::string s =
      cat("  if (way == \"plain\") {\n", calls("f"), "    return;\n  }\n", graph_text(p));
  if (way == "session")
    return s + "  Session session(graph);\n" +
           loop_text(cat("    std::vector<Feed> fed;\n    for (size_t i = 0; i < in.size(); ++i) "
                         "fed.push_back({places[i], in[i]});\n    report(way, [&] { return "
                         "session.run(results, fed); });\n",
                         gradient ? "    report(way + \" gradient\", [&] { return "
                                    "session.run(gradients, fed); });\n"
                                  : ""),
                     p);
  s += "  auto saved = [&](const List& values) {\n    SaveGraphOptions options;\n    for (size_t i "
       "= 0; i < values.size(); ++i)\n      options.outputs.emplace_back(cat(\"y\", i), "
       "graph->handle(graph->id_of(values[i])));\n    save(*graph, \"five_ways.onnx\", options);\n"
       "    return load_graph(\"five_ways.onnx\");\n  };\n  auto run = [&](LoadedGraph file, const "
       "List& in) {\n    NamedTensors fed;\n    (void)in;\n    for (const GraphPort& port : "
       "file.inputs()) {\n";
  int i = 0;
  for (const Input& in : p.inputs)
    if (in.role == Input::fed)
      s += cat("      if (port.name == \"v", in.id, "\") fed.emplace_back(port.name, in[", i++,
               "].detach());\n");
  s += "    }\n    return file.run(fed);\n  };\n";
  return s + loop_text(cat("    report(way, [&] { return run(saved(results), in); });\n",
                           gradient ? "    report(way + \" gradient\", [&] { return "
                                      "run(saved(gradients), in); });\n"
                                    : ""),
                       p);
}

std::string training_text(const Program& p, const std::string& way) {
  const std::string names[][2] = {{"SGD", "SGD optimizer(leaves({}), {.lr = 0.1})"},
                                  {"momentum",
                                   "SGD optimizer(leaves({}), {.lr = 0.1, .momentum = 0.9, "
                                   ".weight_decay = 0.01})"},
                                  {"Adam", "Adam optimizer(leaves({}), {.lr = 0.01})"},
                                  {"AdamW", "AdamW optimizer(leaves({}), {.lr = 0.01})"},
                                  {"RMSprop", "RMSprop optimizer(leaves({}), {.lr = 0.01})"},
                                  {"Adagrad", "Adagrad optimizer(leaves({}), {.lr = 0.01})"}};
  Program fixed = p;
  for (Input& in : fixed.inputs) in.gradient = in.gradient && in.role == Input::parameter;
  std::string s = leaves_text(fixed);
  for (const auto& [name, text] : names)
    if (name == p.optimizer) s += cat("  optim::", text, ";\n");
  s += "  auto step = [&](const List& in) -> List {\n    const List out = f(in);\n    List "
       "copies;\n    for (const Tensor& t : out) copies.push_back(t.detach().clone());\n    "
       "optimizer.zero_grad();\n    const Tensor loss = loss_of(out);\n    if "
       "(loss.requires_grad()) loss.backward();\n";
  if (p.clips) s += "    optim::clip_grad_norm_(optimizer.parameters(), 1);\n";
  s += "    optimizer.step();\n    return copies;\n  };\n";
  if (way == "compiled training") {
    s += "  auto c = compile(step, {.every_length = true, .deterministic = true});\n"
         "  auto run = [&](const List& in) -> List { return way == \"plain\" ? step(in) : c(in); "
         "};\n";
    s += loop_text("    report(way, [&] { return run(in); });\n", p);
  } else {
    Program plain = p;
    plain.optimizer.clear();
    s += cat("  if (way == \"plain\") {\n",
             loop_text("    report(way, [&] { return step(in); });\n", p),
             "    report(\"plain "
             "state\", [&] { return leaves({}); });\n    return;\n  }\n  auto graph = "
             "Graph::make();\n  List places, fetches;\n  {\n    const GraphScope scope(graph);\n");
    for (const Input& in : p.inputs)
      if (in.role == Input::fed)
        s += cat("    places.push_back(", in.gradient ? "leaf(" : "", "placeholder(\"v", in.id,
                 "\", ", shape_text(in), ", ", dtype_text(in.dtype), in.gradient ? "))" : ")",
                 ");\n");
    s += "    const List out = f(places);\n    for (const Tensor& t : out) fetches.push_back("
         "t.detach().clone());\n    fetches.push_back(minimize(optimizer, loss_of(out)));\n"
         "  }\n  Session session(graph);\n";
    s += loop_text(
        "    std::vector<Feed> fed;\n    for (size_t i = 0; i < in.size(); ++i) "
        "fed.push_back({places[i], in[i]});\n    report(way, [&] { return "
        "session.run(fetches, fed); });\n",
        p);
  }
  return s + "  report(way + \" state\", [&] { return leaves({}); });\n";
}

}  // namespace

std::string cpp_text(const Program& p, const Difference& d) {
  const bool trains = d.way.ends_with("training");
  std::string body = state_text(p) + function_text(p) + feeds_text(p);
  if (trains) body += training_text(p, d.way);
  else body += (p.has_gradient() ? leaves_text(p) : "") + way_text(p, d.way);
  std::string s = cat("// five_ways, seed ", p.seed, ": ", d.way, " differs from plain code (",
                      d.kind, ") at call ", d.call, ":\n");
  std::string line = d.what.substr(0, 600);
  for (char& ch : line)
    if (ch == '\n') ch = ' ';
  for (size_t at = 0; at < line.size(); at += 96) s += cat("//   ", line.substr(at, 96), "\n");
  s += "// From the project's root: g++ -std=c++20 -O1 -fopenmp -pthread FILE -I. -Lbuild/release "
       "-ltandem\n//   -Wl,-rpath,$PWD/build/release\n#include <tandem/tandem.h>\n\n#include "
       "<cmath>\n"
       "#include <cstdio>\n\n#include \"tandem/ops/strided.h\"\n";
  auto uses = [&](std::string_view word) { return body.find(word) != body.npos; };
  for (const char* rule : {"adagrad", "adam", "rmsprop", "sgd"})
    if (uses("Step{")) s += cat("#include \"tandem/ops/", rule, "_step.h\"\n");
  if (uses("drawn(")) s += "#include \"tests/support/inputs.h\"\n";
  s += "\nusing namespace tandem;\nusing std::log;\nusing std::max;\nusing std::min;\nusing "
       "std::sqrt;\nusing List = std::vector<Tensor>;\n";
  if (uses("make(")) s += make_text;
  if (uses("drawn(")) s += drawn_text;
  if (uses("with_last(")) s += last_text;
  if (uses("leaf(")) s += leaf_text;
  if (uses("part(")) s += part_text;
  if (uses("lay_")) s += layout_text;
  s += report_text;
  if (uses("loss_of(") || uses("gradients_of(")) s += loss_text;
  s += cat("\n// Everything is made anew for each way.\nvoid run(const std::string& way) {\n", body,
           "}\n\nint main() {\n  run(\"plain\");\n  try {\n    run(\"", d.way,
           "\");\n  } catch (const std::exception& e) {\n    std::printf(\"", d.way,
           " throws %s\\n\", e.what());\n  }\n}\n");
  return s;
}

}  // namespace tandem::five_ways
