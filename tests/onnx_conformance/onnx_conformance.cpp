// Runs ONNX's conformance cases; run.py judges what they give.
//   onnx_conformance < CASES    each line: FOLDER OUT
// FOLDER holds model.onnx and test_data_set_0/input_N.pb; OUT becomes output_N.pb, or `error` with
// the kind of error on its first line. "begin OUT" is printed before each case, so that whoever
// reads can tell which one killed the program.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>

#include "tandem/core/error.h"
#include "tandem/io/file.h"
#include "tandem/io/onnx.h"
#include "tandem/io/onnx_file.h"

using namespace tandem;
namespace fs = std::filesystem;

namespace {

void write(const fs::path& path, const std::string& text) {
  AtomicFile file(path.string());
  file.write(text);
  file.commit();
}

void run(const fs::path& folder, const fs::path& out) {
  LoadedGraph graph = load_graph((folder / "model.onnx").string());
  std::vector<Tensor> in;
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    const fs::path path = folder / "test_data_set_0" / cat("input_", i, ".pb");
    in.push_back(onnx::read_tensor(path.string()).value());
  }
  const std::vector<Tensor> results = graph.run(in);
  for (size_t i = 0; i < results.size(); ++i)
    write(out / cat("output_", i, ".pb"),
          onnx::serialize(onnx::TensorData::of(graph.outputs()[i].name, results[i])));
}

/// The class of the error, as a user would catch it.
const char* kind_of(const std::exception& e) {
  if (dynamic_cast<const NotImplemented*>(&e)) return "NotImplemented";
  if (dynamic_cast<const ShapeError*>(&e)) return "ShapeError";
  if (dynamic_cast<const DTypeError*>(&e)) return "DTypeError";
  if (dynamic_cast<const IndexError*>(&e)) return "IndexError";
  if (dynamic_cast<const IOError*>(&e)) return "IOError";
  if (dynamic_cast<const ValueError*>(&e)) return "ValueError";
  if (dynamic_cast<const Error*>(&e)) return "Error";
  return "untyped";
}

}  // namespace

int main() {
  std::string folder, out;
  while (std::cin >> folder >> out) {
    std::printf("begin %s\n", out.c_str());
    std::fflush(stdout);
    fs::create_directories(out);
    alarm(30);  // a case that hangs is one that kills the program
    try {
      run(folder, out);
    } catch (const std::exception& e) {
      write(fs::path(out) / "error", cat(kind_of(e), "\n", e.what()));
    }
  }
  return 0;
}
