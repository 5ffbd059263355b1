// Models for other programs, and theirs for us; run.py compares.
//   onnx_graphs save FOLDER   writes NAME.onnx and NAME.npz: the inputs, and "out.0", "out.1", ...
//   onnx_graphs run FOLDER    runs NAME.onnx on NAME.npz and writes NAME.out.npz, or NAME.error
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include "tandem/io/npy.h"
#include "tests/onnx_runtime/graphs.h"

using namespace tandem;
namespace fs = std::filesystem;

namespace {

void save_all(const std::string& folder) {
  auto all = testing::save_models(folder);
  for (auto& e : testing::save_samples(folder)) all.push_back(std::move(e));
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t k = 0; k < all[i].more.size(); ++k) all.push_back(all[i].more[k]);
  for (const auto& e : all) {
    std::map<std::string, Tensor> arrays;
    for (const auto& [name, t] : e.inputs) arrays[name] = t;
    for (size_t i = 0; i < e.expected.size(); ++i) arrays[cat("out.", i)] = e.expected[i];
    save_npz(folder + "/" + e.name + ".npz", arrays);
  }
}

void run_all(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".onnx") continue;
    const std::string stem = fs::path(entry.path()).replace_extension("").string();
    try {
      LoadedGraph g = load_graph(entry.path().string());
      const auto arrays = load_npz(stem + ".npz");
      NamedTensors in;
      for (const auto& [name, t] : arrays)
        if (!name.starts_with("out.")) in.emplace_back(name, t);
      const auto out = g.run(in);
      std::map<std::string, Tensor> results;
      for (size_t i = 0; i < out.size(); ++i) results[cat("out.", i)] = out[i];
      save_npz(stem + ".out.npz", results);
    } catch (const NotImplemented& e) {
      std::ofstream(stem + ".error") << "NotImplemented\n" << e.what();
    } catch (const Error& e) {
      std::ofstream(stem + ".error") << "Error\n" << e.what();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "save") save_all(argv[2]);
  else if (argc == 3 && std::string(argv[1]) == "run") run_all(argv[2]);
  else return std::fprintf(stderr, "usage: onnx_graphs save|run FOLDER\n"), 2;
  return 0;
}
