// Runs ops of the table on inputs from a file; docs/op_replay.md has the format.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tandem/autograd/autograd.h"
#include "tandem/io/npy.h"
#include "tandem/op/registry.h"
#include "tests/support/fields.h"
#include "tests/support/inputs.h"
#include "tests/support/specials.h"

namespace {

using namespace tandem;
using Json = nlohmann::ordered_json;
using Arrays = std::map<std::string, Tensor>;

/// What does not follow the format.
struct BadRequest : std::runtime_error {
  using std::runtime_error::runtime_error;
};

DType dtype_named(const std::string& text) {
  for (int i = 0; i < dtype_count; ++i)
    if (name(DType(i)) == text) return DType(i);
  throw BadRequest(cat("no dtype is called '", text, "'"));
}

// --- Attributes to and from JSON ---------------------------------------------------------------

Json number_json(double v) {
  if (std::isfinite(v)) return v;
  return std::isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
}
double number_of(const Json& j) {
  if (!j.is_string()) return j.get<double>();
  const std::string s = j;
  if (s == "nan") return NAN;
  if (s == "inf") return INFINITY;
  if (s == "-inf") return -INFINITY;
  throw BadRequest(cat("'", s, "' is no number"));
}

struct FieldToJson {
  Json operator()(bool v) const { return v; }
  Json operator()(int64_t v) const { return v; }
  Json operator()(double v) const { return number_json(v); }
  Json operator()(const std::string& v) const { return v; }
  Json operator()(DType v) const { return std::string(name(v)); }
  Json operator()(const Shape& v) const { return Json(std::vector<int64_t>(v.begin(), v.end())); }
  Json operator()(const std::optional<int64_t>& v) const { return v ? Json(*v) : Json(); }
  Json operator()(const std::optional<double>& v) const { return v ? number_json(*v) : Json(); }
};
constexpr const char* type_names[] = {"bool",  "int",  "float", "str",
                                      "dtype", "ints", "int?",  "float?"};

int64_t integer_of(const Json& j) {
  if (!j.is_number_integer()) throw BadRequest(cat(j.dump(), " is no integer"));
  return j.get<int64_t>();
}

Shape shape_of(const Json& j) {
  if (!j.is_array()) throw BadRequest(cat("a list of integers is wanted, not ", j.dump()));
  Shape s;
  for (const Json& v : j) s.push_back(integer_of(v));
  return s;
}

/// Sets the attributes that the request names; the others keep their defaults.
class FieldSetter final : public FieldVisitor {
 public:
  explicit FieldSetter(const Json& attrs) : attrs_(attrs) {}
  size_t used = 0;
  void visit(std::string_view n, bool& v) override { set(n, v); }
  void visit(std::string_view n, int64_t& v) override {
    if (const Json* j = find(n)) v = integer_of(*j);
  }
  void visit(std::string_view n, double& v) override {
    if (const Json* j = find(n)) v = number_of(*j);
  }
  void visit(std::string_view n, std::string& v) override { set(n, v); }
  void visit(std::string_view n, DType& v) override {
    if (const Json* j = find(n)) v = dtype_named(j->get<std::string>());
  }
  void visit(std::string_view n, Shape& v) override {
    if (const Json* j = find(n)) v = shape_of(*j);
  }
  void visit(std::string_view n, std::optional<int64_t>& v) override {
    if (const Json* j = find(n)) v = j->is_null() ? std::nullopt : std::optional(integer_of(*j));
  }
  void visit(std::string_view n, std::optional<double>& v) override {
    if (const Json* j = find(n)) v = j->is_null() ? std::nullopt : std::optional(number_of(*j));
  }

 private:
  const Json* find(std::string_view n) {
    const auto it = attrs_.find(std::string(n));
    if (it == attrs_.end()) return nullptr;
    ++used;
    return &*it;
  }
  template <class T>
  void set(std::string_view n, T& v) {
    if (const Json* j = find(n)) v = j->get<T>();
  }
  const Json& attrs_;
};

Json attributes_json(const OpInfo& info, const void* op) {
  testing::FieldReader reader;
  info.visit(const_cast<void*>(op), reader);
  Json out = Json::object();
  for (const auto& [n, v] : reader.fields) out[n] = std::visit(FieldToJson{}, v);
  return out;
}

// --- --list ------------------------------------------------------------------------------------

Json list_inputs(std::string_view text) {
  Json all = Json::array();
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string_view one = text.substr(0, comma);
    text = comma == text.npos ? "" : text.substr(comma + 1);
    while (one.starts_with(' ')) one.remove_prefix(1);
    const bool optional = one.ends_with('?'), variadic = one.ends_with("...");
    if (optional) one.remove_suffix(1);
    if (variadic) one.remove_suffix(3);
    all.push_back({{"name", std::string(one)}, {"optional", optional}, {"variadic", variadic}});
  }
  return all;
}

Json list_ops() {
  Json all = Json::array();
  for (const OpInfo* info : ops()) {
    const testing::OwnedOp op(*info);
    testing::FieldReader reader;
    info->visit(op.get(), reader);
    Json attrs = Json::array();
    for (const auto& [n, v] : reader.fields)
      attrs.push_back({{"name", n},
                       {"type", type_names[v.index()]},
                       {"default", std::visit(FieldToJson{}, v)}});
    all.push_back({{"name", std::string(info->name)},
                   {"inputs", list_inputs(info->inputs)},
                   {"attributes", attrs},
                   {"outputs", info->outputs},
                   {"differentiable", info->differentiable},
                   {"not_differentiable", std::string(info->not_differentiable)},
                   {"broadcasts", info->broadcasts},
                   {"onnx", std::string(info->onnx.op)},
                   {"doc", cat(info->print(op.get()), " of (", info->inputs, ") gives ",
                               info->outputs, info->outputs == 1 ? " output" : " outputs")}});
  }
  return all;
}

// --- One request -------------------------------------------------------------------------------

/// Stored integers as the bits of a half type.
Tensor bits_as(const Tensor& t, DType dtype) {
  const Tensor bits = detail::as_contiguous(t, i64);
  const Tensor out = empty(t.shape(), dtype);
  for (int64_t i = 0; i < bits.numel(); ++i)
    static_cast<uint16_t*>(out.raw_data())[i] = uint16_t(bits.data<int64_t>()[i]);
  return out;
}

Tensor stored(const Json& array, const Arrays& arrays) {
  const std::string key = array.get<std::string>();
  const auto it = arrays.find(key);
  if (it == arrays.end()) throw BadRequest(cat("the file has no array '", key, "'"));
  return it->second;
}

/// null, "name", {"number": 2.5} or {"array": "name", "dtype", "shape", "strides", "offset"}.
Tensor tensor_of(const Json& j, const Arrays& arrays) {
  if (j.is_null()) return {};
  if (j.is_string()) return detail::alias(stored(j, arrays));
  if (!j.is_object()) throw BadRequest(cat("no input can be read from ", j.dump()));
  if (j.contains("number")) {
    const Json& n = j["number"];
    if (n.is_boolean()) return Tensor(Scalar(n.get<bool>()));
    if (n.is_number_integer()) return Tensor(Scalar(n.get<int64_t>()));
    return Tensor(Scalar(number_of(n)));
  }
  Tensor t = detail::alias(stored(j.at("array"), arrays));
  if (j.contains("dtype")) {
    const DType d = dtype_named(j["dtype"]);
    const bool bits = (d == bf16 || d == f16) && !is_floating(t.dtype());
    t = bits ? bits_as(t, d) : detail::as_contiguous(t, d);
  }
  if (!j.contains("shape") && !j.contains("strides") && !j.contains("offset")) return t;
  t = detail::as_contiguous(t);
  const Shape shape = j.contains("shape") ? shape_of(j["shape"]) : t.shape();
  const Strides strides =
      j.contains("strides") ? shape_of(j["strides"]) : contiguous_strides(shape);
  const int64_t offset = j.value("offset", int64_t(0));
  if (strides.size() != shape.size())
    throw BadRequest(cat("strides ", strides, " do not fit shape ", shape));
  constexpr int64_t most = int64_t(1) << 31;  // elements; keeps the sums below from overflowing
  int64_t last = offset, elements = 1;
  if (offset < 0 || offset > t.numel())
    throw BadRequest(cat("offset ", offset, " leaves the ", t.numel(), " elements of the array"));
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0 || shape[i] > most || strides[i] > most || strides[i] < 0 ||
        (elements *= shape[i]) > most)
      throw BadRequest(cat("shape ", shape, " or strides ", strides, " are out of range"));
    last += (shape[i] - 1) * strides[i];
  }
  if (shape.numel() > 0 && last >= t.numel())
    throw BadRequest(cat("shape ", shape, " with strides ", strides, " from ", offset,
                         " leaves the ", t.numel(), " elements of the array"));
  return detail::alias(t, shape, strides, shape.numel() > 0 ? offset : 0);
}

Json described(const Tensor& t, const std::string& key, Arrays& arrays) {
  if (!t.defined()) return nullptr;
  arrays[key] = detail::as_contiguous(t);
  const Shape& s = t.shape();
  return {{"array", key},
          {"dtype", std::string(name(t.dtype()))},
          {"shape", std::vector<int64_t>(s.begin(), s.end())}};
}

void replay(const OpInfo& info, const Json& request, const std::string& prefix,
            const Arrays& arrays, Json& answer, Arrays& results) {
  const testing::OwnedOp op(info);
  const Json attrs = request.value("attrs", Json::object());
  FieldSetter setter(attrs);
  info.visit(op.get(), setter);
  if (setter.used != attrs.size())
    for (const auto& [key, value] : attrs.items())
      if (!attributes_json(info, op.get()).contains(key))
        throw BadRequest(cat(info.name, " has no attribute '", key, "'"));

  Tensors in;
  for (const Json& j : request.value("inputs", Json::array())) in.push_back(tensor_of(j, arrays));
  const Json given = request.value("cotangents", Json());
  const Json wanted = request.value("grad_inputs", Json());
  std::vector<size_t> leaves;
  if (given.is_array())
    for (size_t i = 0; i < in.size(); ++i) {
      const bool want = wanted.is_array() ? i < wanted.size() && wanted[i].get<bool>() : true;
      if (!want || !in[i].defined() || !is_floating(in[i].dtype())) continue;
      in[i].requires_grad_();
      leaves.push_back(i);
    }
  const Tensors out = detail::apply_all(info, op.get(), in.data(), int(in.size()));
  answer["outputs"] = Json::array();
  for (size_t k = 0; k < out.size(); ++k)
    answer["outputs"].push_back(described(out[k], cat(prefix, "out", k), results));
  if (!given.is_array()) return;

  std::vector<Tensor> roots, cotangents;
  for (size_t k = 0; k < out.size() && k < given.size(); ++k) {
    Tensor dy = tensor_of(given[k], arrays);
    if (!dy.defined() || !out[k].requires_grad()) continue;
    roots.push_back(out[k]);
    cotangents.push_back(dy);
  }
  std::vector<Tensor> inputs;
  for (size_t i : leaves) inputs.push_back(in[i]);
  Tensors found(inputs.size());
  if (!roots.empty() && !inputs.empty())
    found = grad(roots, inputs, cotangents, {.allow_unused = true});
  Json gradients = Json::array();
  for (size_t i = 0; i < in.size(); ++i) gradients.push_back(nullptr);
  for (size_t j = 0; j < leaves.size(); ++j)
    gradients[leaves[j]] = described(found[j], cat(prefix, "grad", leaves[j]), results);
  answer["gradients"] = gradients;
}

const char* kind_of(const Error& e) {
  if (dynamic_cast<const ShapeError*>(&e)) return "ShapeError";
  if (dynamic_cast<const DTypeError*>(&e)) return "DTypeError";
  if (dynamic_cast<const DeviceError*>(&e)) return "DeviceError";
  if (dynamic_cast<const IndexError*>(&e)) return "IndexError";
  if (dynamic_cast<const ValueError*>(&e)) return "ValueError";
  if (dynamic_cast<const GradientError*>(&e)) return "GradientError";
  if (dynamic_cast<const IOError*>(&e)) return "IOError";
  if (dynamic_cast<const OutOfMemory*>(&e)) return "OutOfMemory";
  if (dynamic_cast<const NotImplemented*>(&e)) return "NotImplemented";
  return "Error";
}

Tensor text_array(const std::string& text) {
  return wrap(std::vector<uint8_t>(text.begin(), text.end()), {int64_t(text.size())});
}

Json read_requests(const std::string& path, const Arrays& arrays) {
  std::string text;
  if (const auto it = arrays.find("request.json"); it != arrays.end()) {
    const Tensor bytes = detail::as_contiguous(it->second, u8);
    text.assign(static_cast<const char*>(bytes.raw_data()), size_t(bytes.numel()));
  } else {
    const auto beside = std::filesystem::path(path).replace_extension(".json");
    std::ifstream file(beside);
    if (!file)
      throw BadRequest(
          cat(path, ": has no member request.json, and there is no file ", beside.string()));
    text.assign(std::istreambuf_iterator<char>(file), {});
  }
  Json j = Json::parse(text);
  if (j.is_object() && j.contains("requests")) j = j["requests"];
  if (j.is_object()) j = Json::array({j});
  if (!j.is_array()) throw BadRequest("the request is neither an object nor a list");
  return j;
}

/// Exit code 0: all went well; 1: a request failed (its answer says why).
int replay_file(const std::string& in, const std::string& out) {
  const Arrays arrays = load_npz(in);
  const Json requests = read_requests(in, arrays);
  Json answers = Json::array();
  Arrays results;
  int code = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const Json& request = requests[i];
    Json answer = Json::object();
    answer["ok"] = false;
    if (request.is_object() && request.contains("id")) answer["id"] = request["id"];
    try {
      const std::string op = request.at("op");
      answer["op"] = op;
      const OpInfo* info = find_op(op);
      if (!info) throw BadRequest(cat("no op is called '", op, "'"));
      replay(*info, request, cat(i, "."), arrays, answer, results);
      answer["ok"] = true;
    } catch (const Error& e) {
      answer["ok"] = false;
      answer["error"] = kind_of(e);
      answer["message"] = e.what();
      code = 1;
    } catch (const std::bad_alloc&) {
      answer["ok"] = false;
      answer["error"] = "OutOfMemory";
      answer["message"] = "memory is exhausted";
      code = 1;
    } catch (const std::exception& e) {  // what the request's text does wrong
      answer["ok"] = false;
      answer["error"] = "BadRequest";
      answer["message"] = e.what();
      code = 1;
    }
    if (!answer["ok"]) answer.erase("outputs");
    answers.push_back(answer);
  }
  const std::string text = answers.dump(-1, ' ', true, Json::error_handler_t::replace);
  results["response.json"] = text_array(text);
  save_npz(out, results);
  return code;
}

// --- --dump-samples ----------------------------------------------------------------------------

Json dump_inputs(const Tensors& in, const std::string& prefix, Arrays& arrays) {
  Json names = Json::array();
  for (size_t i = 0; i < in.size(); ++i)
    names.push_back(described(in[i], cat(prefix, "in", i), arrays));
  return names;
}

void dump_op(const OpInfo& info, const std::filesystem::path& folder) {
  SampleSet set;
  info.samples(set);
  Json requests = Json::array();
  Arrays arrays;
  for (size_t n = 0; n < set.samples.size(); ++n) {
    const Sample& s = set.samples[n];
    if (!s.error.empty()) continue;
    const Tensors in = testing::make_inputs(info.name, int(n), s.in);
    Json r = {{"op", std::string(info.name)},
              {"id", n},
              {"text", info.print(s.op.get())},
              {"check", int64_t(testing::checksum(info, s.op.get(), in))},
              {"attrs", attributes_json(info, s.op.get())},
              {"differentiable", info.differentiable}};
    r["inputs"] = dump_inputs(in, cat(n, "."), arrays);
    bool floating = false;
    for (const InputSpec& spec : s.in)
      floating = floating || (spec.fill != InputSpec::absent && spec.dtype == f64);
    r["stand_ins"] = Json::object();
    if (floating)
      for (int d = 0; d < dtype_count; ++d)
        r["stand_ins"][std::string(name(DType(d)))] =
            dump_inputs(testing::make_inputs(info.name, int(n), s.in, DType(d)),
                        cat(n, ".", name(DType(d)), "."), arrays);
    r["cotangents"] = Json::array();
    try {
      const Tensors out = detail::apply_all(info, s.op.get(), in.data(), int(in.size()));
      for (size_t k = 0; k < out.size(); ++k)
        r["cotangents"].push_back(
            is_floating(out[k].dtype()) && int(k) < testing::results_of(info)
                ? described(testing::make_cotangent(info.name, int(n), int(k), out[k].shape(),
                                                    out[k].dtype()),
                            cat(n, ".dy", k), arrays)
                : Json());
    } catch (const Error& e) {
      std::fprintf(stderr, "%s sample %zu: %s\n", info.print(s.op.get()).c_str(), n, e.what());
      r["refused"] = e.what();
    }
    requests.push_back(r);
  }
  arrays["request.json"] = text_array(requests.dump());
  save_npz((folder / cat(info.name, ".npz")).string(), arrays);
}

// --- --dump-specials ---------------------------------------------------------------------------

void dump_specials(const OpInfo& info, const std::filesystem::path& folder) {
  Json requests = Json::array();
  Arrays arrays;
  for (const testing::SpecialCase& c : testing::specials_of(info)) {
    const std::string prefix = cat(requests.size(), ".");
    Json r = {{"op", std::string(info.name)},
              {"id", requests.size()},
              {"text", cat(info.print(c.op.get()), ", ", c.what)},
              {"check", int64_t(testing::checksum(info, c.op.get(), c.in))},
              {"attrs", attributes_json(info, c.op.get())},
              {"differentiable", info.differentiable}};
    r["inputs"] = dump_inputs(c.in, prefix, arrays);
    r["cotangents"] = Json::array();
    const Tensors out = detail::apply_all(info, c.op.get(), c.in.data(), int(c.in.size()));
    for (size_t k = 0; k < out.size(); ++k)
      r["cotangents"].push_back(
          is_floating(out[k].dtype()) && int(k) < testing::results_of(info)
              ? described(c.cotangent(info, int(k), out[k].spec()), cat(prefix, "dy", k), arrays)
              : Json());
    r["weights"] = Json::array();
    for (size_t i = 0; i < c.in.size(); ++i)
      r["weights"].push_back(c.in[i].defined() && is_floating(c.in[i].dtype())
                                 ? described(c.weight(info, i), cat(prefix, "w", i), arrays)
                                 : Json());
    requests.push_back(r);
  }
  if (requests.empty()) return;
  arrays["request.json"] = text_array(requests.dump());
  save_npz((folder / cat(info.name, ".npz")).string(), arrays);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Runs ops of Tandem's table on inputs from an .npz file and writes what they give "
      "into another; docs/op_replay.md describes both.\nExit code: 0 every request was "
      "served; 1 a request failed (its answer holds the error); 2 a bad file or "
      "command line.",
      "op_replay"};
  std::string in, out, folder, edges, only;
  bool list = false;
  app.add_option("IN", in, "requests: .npz with a member request.json, or IN.json beside it");
  app.add_option("OUT", out, "answers: .npz with a member response.json");
  app.add_flag("--list", list, "print all ops as JSON: inputs, attributes, types, defaults");
  app.add_option("--dump-samples", folder, "write every op's good samples to FOLDER/OP.npz");
  app.add_option("--dump-specials", edges,
                 "write every op's calls at infinities, NaN, zeros and kinks to FOLDER/OP.npz");
  app.add_option("--op", only, "with --dump-samples and --dump-specials: this op only");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    if (list) {
      std::printf("%s\n", list_ops().dump(1).c_str());
      return 0;
    }
    if (!folder.empty()) {
      std::filesystem::create_directories(folder);
      for (const OpInfo* info : ops())
        if (only.empty() || info->name == only) dump_op(*info, folder);
      return 0;
    }
    if (!edges.empty()) {
      std::filesystem::create_directories(edges);
      for (const OpInfo* info : ops())
        if (only.empty() || info->name == only) dump_specials(*info, edges);
      return 0;
    }
    if (in.empty() || out.empty()) {
      std::fprintf(stderr, "op_replay: IN and OUT are needed; see --help\n");
      return 2;
    }
    return replay_file(in, out);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "op_replay: %s\n", e.what());
    return 2;
  }
}
