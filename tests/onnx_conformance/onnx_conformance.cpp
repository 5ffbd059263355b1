// Runs ONNX's conformance cases; run.py prepares them and judges what they give.
//   onnx_conformance < CASES    each line: MODEL FOLDER
// FOLDER holds the inputs and takes the outputs; a value NAME is
//   NAME.pb          a tensor, numbers or texts
//   NAME.items       a sequence: the number of its items NAME.0, NAME.1, ...
//   NAME.nothing     an optional value that is not there
// A file `error` has the kind of an error on its first line. "begin FOLDER" is printed before each
// case, so that whoever reads can tell which one killed the program.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "tandem/core/error.h"
#include "tandem/io/file.h"
#include "tandem/io/onnx.h"
#include "tandem/io/onnx_file.h"

using namespace tandem;
namespace fs = std::filesystem;

namespace {

void write(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

GraphValue read_value(const std::string& name) {
  if (fs::exists(name + ".nothing")) return {};
  if (std::ifstream list(name + ".items"); list) {
    int count = 0;
    list >> count;
    std::vector<GraphValue> items;
    for (int i = 0; i < count; ++i) items.push_back(read_value(cat(name, ".", i)));
    return GraphValue::of_items(std::move(items));
  }
  const onnx::TensorData t = onnx::read_tensor(name + ".pb");
  if (t.type == onnx::ElementType::string)
    return GraphValue::of_texts(t.strings, Shape{std::span<const int64_t>(t.dims)});
  return t.value();
}

void write_value(const std::string& name, const GraphValue& v) {
  if (v.kind == GraphValue::Kind::nothing) return write(name + ".nothing", "");
  if (v.items) {
    write(name + ".items", cat(v.items->size()));
    for (size_t i = 0; i < v.items->size(); ++i) write_value(cat(name, ".", i), (*v.items)[i]);
    return;
  }
  onnx::TensorData t;
  if (v.texts) {
    t.type = onnx::ElementType::string;
    t.dims.assign(v.texts->shape.begin(), v.texts->shape.end());
    t.strings = v.texts->values;
  } else if (v.element) {
    t = onnx::TensorData::of("", v.tensor, *v.element);
  } else {
    t = onnx::TensorData::of("", v.tensor);
  }
  write(name + ".pb", onnx::serialize(t));
}

void run(const std::string& model, const std::string& folder) {
  LoadedGraph graph = load_graph(model);
  std::vector<GraphValue> in;
  for (size_t i = 0; i < graph.inputs().size(); ++i)
    in.push_back(read_value(cat(folder, "/input_", i)));
  const std::vector<GraphValue> out = graph.run_values(in);
  for (size_t i = 0; i < out.size(); ++i) write_value(cat(folder, "/output_", i), out[i]);
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
  std::string model, folder;
  while (std::cin >> model >> folder) {
    std::printf("begin %s\n", folder.c_str());
    std::fflush(stdout);
    alarm(30);  // a case that hangs is one that kills the program
    try {
      run(model, folder);
    } catch (const std::exception& e) {
      write(folder + "/error", cat(kind_of(e), "\n", e.what()));
    }
  }
  return 0;
}
