#pragma once
// Makes a program that fails smaller, step by step, as long as it fails in the same way.
#include <functional>
#include <map>
#include <optional>

#include "tests/five_ways/program.h"

namespace tandem::five_ways {

/// What plain code makes of the values of a program: for each call, the spec of a value.
using Facts = std::map<int, std::vector<Spec>>;
Facts facts_of(const Program& p);
Json to_json(const Facts& facts);
Facts facts_from(const Json& j);

struct Shrinking {
  std::function<bool(const Program&)> fails;   ///< whether a candidate still fails in the same way
  std::function<Facts(const Program&)> facts;  ///< of a program that is known to run
  std::function<bool()> enough;                ///< whether to stop
};
Program shrink(Program p, const Shrinking& how);

/// Without steps and inputs that no result depends on.
void prune(Program& p);

}  // namespace tandem::five_ways
