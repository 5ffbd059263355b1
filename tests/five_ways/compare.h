#pragma once
// Whether two results are the same, as far as roundings allow.
#include <map>
#include <memory>

#include "tests/five_ways/ways.h"
#include "tests/support/compare.h"

namespace tandem::five_ways {

/// Empty when shapes, dtypes and bits are equal; any NaN equals any other, and without `signs` any
/// zero.
std::string bit_difference(const Tensor& got, const Tensor& want, bool signs);

/// What roundings alone do to the results of a program: it is run again some times, each result of
/// a step a little disturbed. Made when it is first asked for.
class Slack {
 public:
  explicit Slack(const Program& p, bool trains = false) : program_(p), trains_(trains) {}
  /// For each element how far it moves; infinite where it jumps, or becomes or is no longer NaN.
  const std::vector<double>& of(int call, bool gradient, size_t index,
                                const std::vector<Result>& plain);
  /// The same for what is left after all calls.
  const std::vector<double>& of_state(size_t index, const NamedTensors& plain);

 private:
  struct Disturbed {
    std::vector<Result> calls;
    NamedTensors end;
  };
  void disturb();
  /// Raises `slack` by how far `got` is from `want`; all infinite when they have other specs.
  static void widen(std::vector<double>& slack, const Tensor& got, const Tensor& want);
  const Program& program_;
  bool trains_;
  std::vector<Disturbed> disturbed_;
  std::map<std::tuple<int, bool, size_t>, std::vector<double>> known_;
};

struct Comparison {
  std::string kind;  ///< empty: they are the same
  std::string what;
};

/// Compares what a way gave for a call with what plain code gave.
class Comparer {
 public:
  Comparer(const Program& p, const std::vector<Result>& plain, bool trains = false)
      : program_(p), plain_(plain), slack_(p, trains) {}
  /// `bits`: to the last one.
  Comparison outcomes(int call, bool gradient, const Outcome& got, bool bits);
  /// Named tensors after all calls.
  Comparison states(const NamedTensors& got, const NamedTensors& want, bool bits);

 private:
  Comparison tensors(int call, bool gradient, const NamedTensors& got, const NamedTensors& want,
                     bool bits);
  const Program& program_;
  const std::vector<Result>& plain_;
  Slack slack_;
};

}  // namespace tandem::five_ways
