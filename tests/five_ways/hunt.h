#pragma once
// Draws programs, runs them in children, and reports each kind of difference once.
#include <map>
#include <memory>
#include <set>
#include <string>

#include "tests/five_ways/child.h"
#include "tests/five_ways/ways.h"

namespace tandem::five_ways {

struct HuntOptions {
  uint64_t seed = 1;
  int64_t programs = 1000;
  double seconds = 0;  ///< when positive: go on as long, whatever `programs` says
  int jobs = 1;
  double patience = 5;         ///< seconds that one way of one program may take
  double shrink_seconds = 20;  ///< 0: report programs as they were drawn
  std::string out;             ///< where findings are written; empty: nowhere
  std::string python;          ///< of the judge; empty: without PyTorch and ONNX Runtime
  std::string judge;           ///< judge.py
  std::set<std::string> only;  ///< ways; empty: all
  std::string cases;           ///< a folder of programs that run first
  int64_t most = 1000;         ///< kinds of differences, then it ends
};

/// What all jobs of a hunt have counted; lies in shared memory.
struct Counts {
  std::atomic<int64_t> programs{0}, kinds{0}, repeats{0};
  std::atomic<int64_t> by_torch{0}, by_runtime{0}, by_runtime_open{0}, runtime_calls{0};
};

/// Runs a hunt; prints findings as they come. The number of kinds of differences.
int64_t hunt(const HuntOptions& options);

/// The program in every way, once, without children; prints differences. Their number.
int replay(const Program& p, const HuntOptions& options);

}  // namespace tandem::five_ways
