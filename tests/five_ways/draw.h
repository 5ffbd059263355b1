#pragma once
// Draws a program from a seed. Each step is tried on tensors with values first, for two sets of
// lengths: what plain code refuses is drawn again, so that nothing here needs to know the rules of
// any op.
#include <functional>
#include <memory>

#include "tests/five_ways/machine.h"

namespace tandem::five_ways {

/// Told of every program that is about to run while one is drawn.
using Trial = std::function<void(const Program& p)>;
/// The program of that seed; the same on every machine.
Program draw_program(uint64_t seed, const Trial& trial = {});

class Drawer {
 public:
  Drawer(uint64_t seed, const Trial& trial);
  /// False when nothing came of it.
  bool draw();
  Program take() { return std::move(program_); }

 private:
  /// What a number of a sample stands for in the program: a fixed length, or one that is not known.
  struct Dim {
    Input::Axis axis;
    bool fits_input = true;  ///< false: made from unknown lengths, no input can have it
    int of = -1, at = 0;     ///< the axis of a value that has this length
    int64_t now[2] = {0, 0};
    bool varies() const { return now[0] != now[1]; }
  };
  using Dims = std::map<int64_t, Dim>;
  struct Reference {
    State state;
    Machine machine;
    Reference(const Program& p) : state(p), machine(p, state) {}
  };

  // --- Chance -------------------------------------------------------------------------------
  bool chance(double p) { return random_.uniform() < p; }
  int64_t below(int64_t n) { return random_.below(n); }
  template <class List>
  const auto& pick(const List& list) {
    return list[size_t(below(int64_t(std::size(list))))];
  }

  // --- Inputs and values --------------------------------------------------------------------
  Tensor value(int id, int reference = 0) const {
    return references_[size_t(reference)]->machine.value(id);
  }
  Dim dim_of(int id, int axis) const;
  /// A new input of that sample, its lengths replaced; -1 when no input can be so.
  int add_input(const InputSpec& spec, Dims& dims);
  int add_input(Input input);
  void vary_values(Input& in);
  int disguise(int id);
  void drop_inputs(size_t count);
  Dim new_dim(int64_t number, int axis);
  bool same_spec(int a, int b) const;
  /// A visible value that `wanted` likes; -1 when there is none. Late ones are more likely.
  template <class Wanted>
  int pick_value(const Wanted& wanted);
  int new_id() { return program_.values++; }
  /// Runs the step and keeps it. False: it was refused, nothing has changed.
  bool accept(Step s);
  void try_out(const Step& s) const;
  void rebuild();
  bool values_are_fit(const Step& s);

  // --- Steps --------------------------------------------------------------------------------
  bool draw_step();
  bool draw_call(const Callable& c);
  bool draw_call();
  bool draw_elementwise(const Callable& c, int first);
  bool draw_read();
  bool draw_in_place();
  bool draw_write();
  bool draw_cond();
  bool draw_while();
  bool draw_fold();
  bool draw_walk();
  bool draw_decision();

  void choose_operands(const CallSample& sample, Step& s, Dims& dims);
  bool fill_operands(const CallSample& sample, Step& s, Dims& dims);
  void vary_attributes(Step& s, const Dims& dims);
  void vary(FieldValue& v, const std::string& field, Step& s, const Dims& dims);
  void vary_integer(int64_t& v, const std::string& field, int entry, Step& s, const Dims& dims);
  std::vector<IndexItem> draw_index(int id, bool writes);
  /// An integer made from lengths of visible values; none when nothing has an unknown length.
  std::optional<Expr> draw_length();
  Expr draw_number(bool floating);
  int draw_target();
  const Input* input_shared_with(int id) const;
  bool shares_outer(int id) const;
  /// A block whose result has the spec of `like`.
  bool draw_block(Block& b, int like, int steps);
  bool end_block(Block& b, int like, size_t outer);
  int predicate();
  int add_record(const std::string& name, std::vector<Operand> in, Attributes set = {});

  // --- The end ------------------------------------------------------------------------------
  void choose_results();
  bool hides_errors();
  bool finish();

  Program program_;
  const Trial& trial_;
  testing::Random random_;
  DType real_ = f32;
  bool large_ = false;
  double unknown_ = 0.5;  ///< how likely a new length is not known
  double tie_ = 1;        ///< how likely equal lengths of a sample stay equal
  int depth_ = 0;
  size_t block_begin_ = 0;    ///< where the values of the block that is drawn begin in `visible_`
  bool dirty_ = false;        ///< a step that was refused has written to values
  bool block_wrote_ = false;  ///< a step of a block has written, and will once more
  std::vector<std::unique_ptr<Reference>> references_;
  std::vector<int> visible_;
  std::vector<Step>* steps_ = nullptr;
};

template <class Wanted>
int Drawer::pick_value(const Wanted& wanted) {
  for (int t = 0; t < 12 && !visible_.empty(); ++t) {
    const int64_t n = int64_t(visible_.size());
    const int64_t back = chance(0.6) ? below(std::min<int64_t>(n, 3)) : below(n);
    const int id = visible_[size_t(n - 1 - back)];
    if (wanted(id)) return id;
  }
  return -1;
}

}  // namespace tandem::five_ways
