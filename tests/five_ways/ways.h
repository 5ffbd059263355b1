#pragma once
// The ways to run one program, and what differs between them.
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tandem/core/named_tensors.h"
#include "tests/five_ways/program.h"

namespace tandem::five_ways {

/// What a run of a part of a program gave: tensors, or an error.
struct Outcome {
  bool ran = false;
  std::string error;  ///< the error's type; empty when there was none
  std::string text;   ///< what it says
  NamedTensors values;
};

/// What a call gave.
struct Result {
  Outcome forward, gradient;
};

/// One difference between plain code and another way.
struct Difference {
  std::string way;   ///< "compiled", "session", ...
  std::string kind;  ///< "value", "bits", "error", "shape", "crash", "hang"
  int call = 0;
  std::string what;
};

/// Told what is about to run, so that a crash has a name.
using Announce = std::function<void(const std::string& what)>;

struct WayOptions {
  std::set<std::string> only;  ///< names of ways; empty: all
  std::string folder;          ///< for saved files; empty: no files
  bool keep_files = false;     ///< for the judge: writes what it needs
  int most = 3;                ///< differences, then the rest is not run
};

/// The names of all ways, in the order in which they run.
const std::vector<std::string>& way_names();

/// Runs the program in every way and compares with plain code. `limits` counts texts of errors that
/// the documentation allows.
std::vector<Difference> run_ways(const Program& p, const WayOptions& options,
                                 const Announce& announce);

/// The type of an error and what it says.
void note_error(Outcome& o);

}  // namespace tandem::five_ways
