// Runs an ONNX model, or says what it is.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>

#include "tandem/core/error.h"
#include "tandem/core/print.h"
#include "tandem/io/npy.h"
#include "tandem/io/onnx.h"
#include "tandem/ops/cast.h"

namespace {

using namespace tandem;
namespace fs = std::filesystem;

/// The array as what the input takes, when no number becomes another one: f64 may be rounded to
/// f32, but 0.5 is no token.
Tensor as_input(const GraphPort& port, const Tensor& t) {
  const Tensor own = cast(t, port.dtype);
  require<DTypeError>(
      is_floating(port.dtype) || cast(own, t.dtype()).to_vector<double>() == t.to_vector<double>(),
      "input ", [&] { return to_string(port); }, ": the file's ", t.dtype(),
      " numbers are not all numbers of ", port.dtype);
  return own;
}

/// "x=a.npy", "a.npy" for the next input without a name, or "a.npz" for several by their names.
NamedTensors read_inputs(const LoadedGraph& graph, const std::vector<std::string>& files) {
  NamedTensors all;
  size_t next = 0;
  auto take = [&](const std::string& name, const Tensor& t) {
    require(!find(all, name).defined(), "input ", name, " is given twice");
    Tensor own = t;
    for (const auto* ports : {&graph.inputs(), &graph.defaults()})
      for (const GraphPort& p : *ports)
        if (p.name == name) own = as_input(p, t);
    all.emplace_back(name, own);
  };
  for (const std::string& one : files) {
    const size_t equals = one.find('=');
    if (equals != one.npos && !fs::exists(one)) {
      take(one.substr(0, equals), load_npy(one.substr(equals + 1)));
    } else if (fs::path(one).extension() == ".npz") {
      for (const auto& [name, t] : load_npz(one)) take(name, t);
    } else {
      while (next < graph.inputs().size() && find(all, graph.inputs()[next].name).defined()) ++next;
      require(next < graph.inputs().size(), one, ": the model's inputs are all given, it takes ",
              graph.inputs().size());
      take(graph.inputs()[next].name, load_npy(one));
    }
  }
  return all;
}

void check_output(const LoadedGraph& graph, const std::string& path) {
  const std::string extension = fs::path(path).extension();
  require(extension == ".npy" || extension == ".npz", path, ": outputs go to a .npy or a .npz");
  require(graph.outputs().size() == 1 || extension == ".npz", path, ": the model has ",
          graph.outputs().size(), " outputs; write them to a .npz");
}

void write_outputs(const LoadedGraph& graph, const std::vector<Tensor>& out,
                   const std::string& path) {
  if (fs::path(path).extension() == ".npy") return save_npy(path, out[0]);
  std::map<std::string, Tensor> named;
  for (size_t i = 0; i < out.size(); ++i) named[graph.outputs()[i].name] = out[i];
  save_npz(path, named);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Runs an ONNX model on NumPy files.\n"
      "Exit code: 0 all went well; 1 the model or a file is wrong; 2 a bad command line.",
      "tandem-run"};
  std::string model, output, save_state;
  std::vector<std::string> inputs;
  bool describe = false;
  int repeat = 1;
  app.add_option("MODEL", model, "an .onnx file")->required();
  app.add_option(
      "-i,--input", inputs,
      "FILE.npy for the next input, NAME=FILE.npy for one by name, FILE.npz for several");
  app.add_option("-o,--output", output, "FILE.npy, or FILE.npz for several; printed if not given");
  app.add_flag("-d,--describe", describe, "print inputs, outputs, state and operators");
  app.add_option("-n,--repeat", repeat, "run so often, and print the time of a run")
      ->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--save-state", save_state, "write what the runs left in the state to FILE.npz");
  app.failure_message([](const CLI::App*, const CLI::Error& e) {
    return cat("tandem-run: ", e.what(), "; --help lists the options\n");
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    LoadedGraph graph = load_graph(model);
    if (describe) {
      std::printf("%s", graph.describe().c_str());
      if (inputs.empty()) return 0;
    }
    if (!output.empty()) check_output(graph, output);
    const NamedTensors in = read_inputs(graph, inputs);
    std::vector<Tensor> out = graph.run(in);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 1; i < repeat; ++i) out = graph.run(in);
    if (repeat > 1) {
      const std::chrono::duration<double, std::milli> t = std::chrono::steady_clock::now() - start;
      std::printf("%.4g ms a run\n", t.count() / (repeat - 1));
    }
    if (!output.empty()) write_outputs(graph, out, output);
    for (size_t i = 0; output.empty() && i < out.size(); ++i)
      std::printf("%s = %s\n", graph.outputs()[i].name.c_str(), to_string(out[i]).c_str());
    if (!save_state.empty()) {
      std::map<std::string, Tensor> state;
      for (const auto& [name, t] : graph.state_dict()) state[name] = t;
      save_npz(save_state, state);
    }
    return 0;
  } catch (const std::exception& e) {
    std::string text = e.what();
    for (char& c : text)
      if (c == '\n') c = ' ';
    std::fprintf(stderr, "tandem-run: %s\n", text.c_str());
    return 1;
  }
}
