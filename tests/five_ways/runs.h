#pragma once
// One object for each way to run a program, called once for each set of lengths.
#include <memory>

#include "tests/five_ways/machine.h"
#include "tests/five_ways/ways.h"

namespace tandem::five_ways {

class Run {
 public:
  virtual ~Run() = default;
  virtual Result call(int c) = 0;
  /// Parameters and buffers after all calls; empty for ways that do not change them.
  virtual NamedTensors end() { return {}; }
};

/// How a program is differentiated.
enum class Gradient { none, outside, inside };

std::unique_ptr<Run> plain_run(const Program& p, const Noise* noise = nullptr);
std::unique_ptr<Run> compiled_run(const Program& p, Gradient gradient, bool deterministic);
std::unique_ptr<Run> session_run(const Program& p);
/// Saves what the session runs to files in `folder` and runs those.
std::unique_ptr<Run> saved_run(const Program& p, const std::string& folder);
/// Whole training steps with the program's optimizer; the results are those of the forward pass.
std::unique_ptr<Run> plain_training(const Program& p, const Noise* noise = nullptr);
std::unique_ptr<Run> compiled_training(const Program& p, bool deterministic);
std::unique_ptr<Run> session_training(const Program& p);

/// All calls of plain code.
std::vector<Result> run_plain(const Program& p, const Noise* noise);

/// Random numbers begin anew at each call.
void seed_draws(const Program& p, int call);
/// The fed inputs of a call, in the program's order.
std::vector<Tensor> fed_inputs(const Program& p, int call);
/// Inside a GraphScope: what such an input is fed to.
Tensor make_placeholder(const Input& in);
/// The program on symbolic or concrete inputs.
std::vector<Tensor> evaluate(Machine& machine, const Program& p, const std::vector<Tensor>& fed);
/// Copies without history, named by what they are of.
NamedTensors kept(const Program& p, const std::vector<Tensor>& results);

/// Runs f, and notes what it throws.
template <class F>
void attempt(Outcome& o, const F& f) {
  o.ran = true;
  try {
    f();
  } catch (...) {
    note_error(o);
  }
}

}  // namespace tandem::five_ways
