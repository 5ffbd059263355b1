#pragma once
// The other judges: a Python process that runs programs in PyTorch and saved files in ONNX Runtime.
#include <sys/types.h>

#include <cstdio>
#include <string>

#include "tests/five_ways/runs.h"

namespace tandem::five_ways {

/// What plain code has given.
struct Given {
  const NamedTensors& state;  ///< before the first call
  const std::vector<Result>& plain;
  const std::vector<Result>& trained;  ///< whole steps; empty when there are none
  const NamedTensors& trained_end;     ///< the state after them
};
/// Writes what the judge needs to know of a program: program.json, and its inputs, state and
/// results as data.safetensors. The saved graph lies beside them.
void write_for_judge(const Program& p, const Given& given, const std::string& folder);

class Judge {
 public:
  Judge(const std::string& python, const std::string& script);
  ~Judge();
  Judge(const Judge&) = delete;
  Judge& operator=(const Judge&) = delete;

  /// What PyTorch and ONNX Runtime say of the program in that folder; nothing when the folder has
  /// none. A judge that dies is started anew, and that is a difference.
  struct Verdict {
    std::vector<Difference> differences;
    int torch_calls = 0, runtime_calls = 0;  ///< calls that each of them has compared
    bool runtime_open = false;               ///< one session of a file with unknown lengths
  };
  Verdict judge(const std::string& folder);

 private:
  Verdict ended();
  void start();
  void stop();
  std::string python_, script_;
  pid_t child_ = -1;
  FILE *to_ = nullptr, *from_ = nullptr;
};

}  // namespace tandem::five_ways
