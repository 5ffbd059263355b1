#pragma once
// Programs as data: five_ways draws them, runs them in every way, shrinks them and prints them.
#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/op/samples.h"
#include "tests/support/field_json.h"

namespace tandem::five_ways {

using testing::FieldValue;
using testing::Json;
using Attributes = std::vector<std::pair<std::string, FieldValue>>;

/// A number that the code makes from lengths. `real` and what follows it are floating-point.
struct Expr {
  enum Kind : uint8_t { number, size, numel, add, sub, mul, div, min, max, real, ratio, sqrt, log };
  Kind kind = number;
  double value = 0;              ///< number, real
  int of = -1;                   ///< size, numel: of which value
  int axis = 0;                  ///< size
  std::vector<Expr> parts = {};  ///< of arithmetic

  bool is_real() const { return kind >= real; }
  static Expr integer(int64_t v) { return {.kind = number, .value = double(v)}; }
  static Expr constant(double v) { return {.kind = real, .value = v}; }
  static Expr length(int of, int axis) { return {.kind = size, .of = of, .axis = axis}; }
  static Expr made(Kind kind, Expr a, Expr b) {
    return {.kind = kind, .parts = {std::move(a), std::move(b)}};
  }
};

/// What a step reads: a value, a C++ number, or, when it has neither, nothing.
struct Operand {
  int value = -1;
  std::optional<Expr> number = {};
};

/// An integer attribute, or entry `entry` of a list of them, that is made from lengths.
struct Computed {
  std::string field;
  int entry = -1;
  Expr expr;
};

/// One thing between the brackets of an index.
struct IndexItem {
  enum Kind : uint8_t { integer, range, all, none, ellipsis, tensor };
  Kind kind = all;
  std::optional<Expr> start = {}, stop = {};  ///< integer: `start`
  int64_t step = 1;
  int value = -1;  ///< tensor
};

struct Step;
/// Code that runs zero or more times: a branch, the body of a loop.
struct Block {
  std::vector<int> arguments;
  std::vector<Step> steps;
  std::vector<int> results;
};

struct Step {
  enum Kind : uint8_t {
    record,      ///< `name` of the op table
    function,    ///< of functions.cpp
    layer,       ///< nn::name, made once
    read,        ///< in[0](index...)
    write,       ///< in[0](index...) = in[1]; `name` is the operator
    cond,        ///< in[0] ? blocks[0] : blocks[1]
    while_loop,  ///< variables `in`; blocks: condition, body
    fold,        ///< `name` is foldl, foldr, scan or map_fn; in: elements, start
    walk,        ///< for (row of in[0]) in[1] = block(in[1], row): decides by a length
    decide       ///< if (expr > limit) blocks[0] else blocks[1]: decides by a length
  };
  Kind kind = record;
  std::string name = {};
  Attributes attributes = {};
  std::vector<Computed> computed = {};
  std::vector<Operand> in = {};
  bool in_place = false;  ///< a record that writes over in[0] and has no other result
  std::vector<IndexItem> index = {};
  std::vector<Block> blocks = {};
  std::vector<int> out = {};  ///< the numbers of the results; -1 for those that nobody reads
};

/// How an input lies in memory.
enum class Layout : uint8_t { plain, transposed, stepped, cropped, expanded };
inline constexpr std::string_view layout_names[] = {"plain", "transposed", "stepped", "cropped",
                                                    "expanded"};

/// A tensor that a program starts from.
struct Input {
  enum Role : uint8_t {
    fed,       ///< an argument, a placeholder: its unknown lengths and values change with each call
    parameter  ///< a tensor from outside that all calls share
  };
  /// A length, or which of the program's unknown ones it is.
  struct Axis {
    int64_t length = 1;
    int symbol = -1;
  };
  int id = 0;
  Role role = fed;
  std::vector<Axis> shape;
  DType dtype = f32;
  InputSpec::Fill fill = InputSpec::normal;
  double scale = 1, shift = 0;
  int below = -1;  ///< index: the symbol whose length bounds it instead of `scale`
  std::vector<double> values = {};
  double last = 0;  ///< when not 0: what the last element is, an infinity or NaN
  Layout layout = Layout::plain;
  bool gradient = false;
};

struct Program {
  uint64_t seed = 0;
  std::vector<Input> inputs;
  std::vector<Step> steps;
  std::vector<int> results;
  std::vector<std::vector<int64_t>> calls;  ///< for each call, the unknown lengths
  std::string optimizer;                    ///< of optim; empty: no whole step
  bool clips = false;                       ///< whole steps clip the norm of the gradients

  int values = 0;  ///< numbers above all values

  int symbols() const { return calls.empty() ? 0 : int(calls[0].size()); }
  bool has_gradient() const;
  const Input* find_input(int id) const;
};

/// Calls f on every step, inner ones too, in order.
template <class Steps, class F>
void each_step(Steps& steps, const F& f) {
  for (auto& step : steps) {
    f(step);
    for (auto& block : step.blocks) each_step(block.steps, f);
  }
}
/// Calls f(Expr&) on every number made from lengths that the step itself has.
template <class S, class F>
void each_expr(S& step, const F& f) {
  for (auto& c : step.computed) f(c.expr);
  for (auto& o : step.in)
    if (o.number) f(*o.number);
  for (auto& i : step.index) {
    if (i.start) f(*i.start);
    if (i.stop) f(*i.stop);
  }
}
/// Calls f(int&) on every value that a number looks at.
template <class E, class F>
void each_value_of(E& expr, const F& f) {
  if (expr.of >= 0) f(expr.of);
  for (auto& part : expr.parts) each_value_of(part, f);
}
/// Calls f(int&) on every value that the step itself reads, those of its blocks not included.
template <class S, class F>
void each_read(S& step, const F& f) {
  for (auto& o : step.in)
    if (o.value >= 0) f(o.value);
  for (auto& i : step.index)
    if (i.value >= 0) f(i.value);
  each_expr(step, [&](auto& e) { each_value_of(e, f); });
}

/// Values whose elements something needs: results, and what steps read for more than its shape.
std::set<int> needed_values(const Program& p);
/// Names of records, functions and layers that the program calls, once each, sorted.
std::vector<std::string> calls_of(const Program& p);
/// The lengths of an input at a call.
Shape shape_at(const Input& input, const std::vector<int64_t>& lengths);

Json to_json(const Program& p);
/// Errors: BadRequest, and what the JSON library throws.
Program program_of(const Json& j);

}  // namespace tandem::five_ways
