// five_ways: random programs, each run plainly, compiled, in a session, saved and loaded, in ONNX
// Runtime and in PyTorch. See README.md.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/five_ways/catalogue.h"
#include "tests/five_ways/draw.h"
#include "tests/five_ways/hunt.h"
#include "tests/five_ways/text.h"

namespace {

using namespace tandem::five_ways;

constexpr const char* usage = R"(usage: five_ways [OPTION...]

  --seed N          which programs are drawn (1)
  --programs N      how many (1000)
  --hours X         go on as long instead
  --jobs N          processes (1)
  --python PATH     runs judge.py: compares with PyTorch and ONNX Runtime, too
  --ways A,B        only these ways
  --cases FOLDER    runs the programs (*.json) of a folder first
  --most N          ends when it has found so many kinds of differences (1000)
  --out FOLDER      writes each finding as a C++ program and as JSON
  --patience S      seconds that one way of one program may take (5)
  --shrink S        seconds for making a finding small (20; 0: as it was drawn)
  --coverage N      prints how often N programs call what there is to call, and ends
  --show N          prints the program of that seed as C++ and ends
  --replay FILE     runs a program from a JSON file and ends

The last line is `N passed, N failed, N skipped`. Exit code 1 when something differs.
)";

int show(uint64_t seed) {
  const Program p = draw_program(seed);
  std::printf("%s", cpp_text(p, {"compiled", "", 0, ""}).c_str());
  return 0;
}

int coverage(int64_t programs, uint64_t seed) {
  std::map<std::string, int> counts;
  for (const Callable& c : catalogue()) counts[c.name] = 0;
  Board& board = *Board::make();
  for (int64_t i = 0; i < programs; ++i) {
    const Ending e = in_child(board, {}, [&](const Write& write) {
      for (; i < programs; ++i) {
        board.begin(i);
        for (const std::string& name : calls_of(draw_program(seed * 1000000 + uint64_t(i))))
          write(name + "\n");
      }
    });
    i = board.program;  // behind the last one, or at one that has crashed
    std::istringstream names(e.output);
    for (std::string name; std::getline(names, name);) ++counts[name];
  }
  for (const auto& [name, count] : counts) std::printf("%6d %s\n", count, name.c_str());
  return 0;
}

int run(int argc, char** argv) {
  HuntOptions options;
  options.judge = std::string(TANDEM_SOURCE_DIR) + "/tests/five_ways/judge.py";
  std::string file;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help" || word == "-h") return std::printf("%s", usage), 0;
    if (i + 1 >= argc) return std::fprintf(stderr, "%s", usage), 2;
    const char* value = argv[++i];
    if (word == "--seed") options.seed = std::strtoull(value, nullptr, 10);
    else if (word == "--programs") options.programs = std::atoll(value);
    else if (word == "--hours") options.seconds = 3600 * std::atof(value);
    else if (word == "--jobs") options.jobs = std::atoi(value);
    else if (word == "--python") options.python = value;
    else if (word == "--cases") options.cases = value;
    else if (word == "--most") options.most = std::atoll(value);
    else if (word == "--out") options.out = value;
    else if (word == "--patience") options.patience = std::atof(value);
    else if (word == "--shrink") options.shrink_seconds = std::atof(value);
    else if (word == "--coverage") return coverage(std::atoll(value), options.seed);
    else if (word == "--show") return show(std::strtoull(value, nullptr, 10));
    else if (word == "--replay") file = value;
    else if (word == "--ways") {
      std::string name;
      for (const char* p = value;; ++p) {
        if (*p && *p != ',') name += *p;
        else options.only.insert(std::exchange(name, ""));
        if (!*p) break;
      }
    } else {
      return std::fprintf(stderr, "%s", usage), 2;
    }
  }
  if (!file.empty())
    return replay(program_of(Json::parse(std::ifstream(file))), options) > 0 ? 1 : 0;
  return hunt(options) > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "five_ways: %s\n", e.what());
    return 2;
  }
}
