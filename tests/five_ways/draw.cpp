#include "tests/five_ways/draw.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "tandem/tandem.h"
#include "tests/five_ways/runs.h"
#include "tests/five_ways/shrink.h"

namespace tandem::five_ways {
namespace {

constexpr int references = 2, symbols = 4, tries = 40;
/// What unknown lengths are at the first two calls: different among each other, so that a length
/// says which it is.
constexpr int64_t first_lengths[references][symbols] = {{5, 6, 7, 8}, {9, 4, 10, 11}};

}  // namespace

Drawer::Drawer(uint64_t seed, const Trial& trial) : trial_(trial), random_(seed) {
  program_.seed = seed;
  const double kind = random_.uniform();
  real_ = kind < 0.78 ? f32 : kind < 0.86 ? f64 : kind < 0.93 ? f16 : bf16;
  large_ = chance(0.05);
  unknown_ = chance(0.25) ? 0 : 0.6;
  constexpr int64_t later[] = {1, 0, 2, 5, 3, 1, 7, 16, 12};
  const int calls = references + int(below(4));
  for (int c = 0; c < calls; ++c) {
    std::vector<int64_t> lengths;
    for (int k = 0; k < symbols; ++k)
      lengths.push_back(c < references ? first_lengths[c][k] * (large_ && k == 0 ? 40 : 1)
                                       : pick(later));
    // Back to lengths that were there before.
    if (c > references && chance(0.3)) lengths = program_.calls[0];
    program_.calls.push_back(lengths);
  }
  steps_ = &program_.steps;
  rebuild();
}

/// Runs the program anew: after a trial that was refused half-way.
void Drawer::rebuild() {
  dirty_ = block_wrote_ = false;
  references_.clear();
  manual_seed(program_.seed);
  for (int r = 0; r < references; ++r) {
    references_.push_back(std::make_unique<Reference>(program_));
    for (const Input& in : program_.inputs)
      if (in.role == Input::fed) {
        Tensor t = make_input(program_, in, r);
        if (in.gradient) t.requires_grad_();
        references_.back()->machine.feed(in.id, t);
      }
    references_.back()->machine.run(program_.steps);
  }
}

// --- Inputs and values -------------------------------------------------------------------------

Drawer::Dim Drawer::dim_of(int id, int axis) const {
  Dim d;
  d.of = id;
  d.at = axis;
  for (int r = 0; r < references; ++r) d.now[r] = value(id, r).size(axis);
  if (!d.varies()) {
    d.axis = {d.now[0], -1};
    return d;
  }
  d.fits_input = false;
  for (int k = 0; k < symbols; ++k)
    if (program_.calls[0][size_t(k)] == d.now[0] && program_.calls[1][size_t(k)] == d.now[1]) {
      d.axis = {1, k};
      d.fits_input = true;
    }
  return d;
}

Drawer::Dim Drawer::new_dim(int64_t number, int axis) {
  Dim d;
  const int symbol = named_lengths ? int(below(symbols)) : axis;
  if (symbol < symbols && number > 0 && chance(unknown_)) {
    d.axis = {1, symbol};
    for (int r = 0; r < references; ++r) d.now[r] = program_.calls[size_t(r)][size_t(symbol)];
    return d;
  }
  constexpr int64_t others[] = {1, 2, 3, 4, 5, 8, 16, 7}, big[] = {64, 128, 33, 16};
  if (number > 0 && chance(large_ ? 0.6 : 0.25)) number = large_ ? pick(big) : pick(others);
  d.axis = {number, -1};
  d.now[0] = d.now[1] = number;
  return d;
}

int Drawer::add_input(Input in) {
  in.id = new_id();
  program_.inputs.push_back(in);
  for (int r = 0; r < references; ++r) {
    Reference& ref = *references_[size_t(r)];
    if (in.role == Input::parameter) {
      ref.state.add(program_, in);
      ref.machine.grow(program_.values);
      continue;
    }
    ref.machine.grow(program_.values);
    Tensor t = make_input(program_, in, r);
    if (in.gradient) t.requires_grad_();
    ref.machine.feed(in.id, t);
  }
  visible_.push_back(in.id);
  return in.id;
}

void Drawer::drop_inputs(size_t count) {
  while (program_.inputs.size() > count) {
    std::erase(visible_, program_.inputs.back().id);
    program_.inputs.pop_back();
  }
}

int Drawer::add_input(const InputSpec& spec, Dims& dims) {
  Input in;
  in.dtype = spec.dtype == f64 || spec.dtype == f32 ? real_ : spec.dtype;
  in.fill = spec.fill;
  in.scale = spec.scale;
  in.shift = spec.shift;
  in.values = spec.values;
  int64_t elements = 1;
  for (int a = 0; a < spec.shape.size(); ++a) {
    const int64_t number = spec.shape[a];
    if (!dims.count(number)) dims[number] = new_dim(number, a);
    Dim d = dims[number];
    // Equal numbers of a sample need not mean the same.
    if (!chance(tie_)) d = {{number, -1}, true, -1, 0, {number, number}};
    if (!d.fits_input || (!named_lengths && d.axis.symbol >= 0 && d.axis.symbol != a)) {
      // A length of its own, then: whether that fits is for the op to say.
      d = new_dim(number, a);
    }
    in.shape.push_back(d.axis);
    elements *= std::max<int64_t>(d.now[0], 1);
  }
  if (elements > (large_ ? 1 << 18 : 1 << 13)) return -1;
  if (in.fill == InputSpec::index)
    if (const auto it = dims.find(int64_t(spec.scale)); it != dims.end()) {
      in.below = it->second.axis.symbol;
      in.scale = double(it->second.now[0]);
      if (!it->second.fits_input) in.scale = double(std::min(it->second.now[0], it->second.now[1]));
    }
  const bool fixed = std::all_of(in.shape.begin(), in.shape.end(),
                                 [](const Input::Axis& a) { return a.symbol < 0; });
  if (fixed && in.below < 0 && chance(0.35)) in.role = Input::parameter;
  in.gradient = is_floating(in.dtype) && chance(0.6);
  if (in.fill == InputSpec::normal && is_floating(in.dtype)) vary_values(in);
  if (in.role == Input::fed && chance(0.15)) in.layout = Layout(1 + below(4));
  return add_input(in);
}

/// Small and large numbers, numbers far from zero, and an infinity or NaN beside finite ones.
void Drawer::vary_values(Input& in) {
  constexpr double scales[] = {1e-8, 1e-4, 1e4}, lasts[] = {HUGE_VAL, -HUGE_VAL, NAN};
  if (chance(0.06)) in.scale = pick(scales);
  if (chance(0.04)) in.shift = 3000;
  if (chance(large_ ? 0.3 : 0.03)) in.last = pick(lasts);
}

bool Drawer::same_spec(int a, int b) const {
  for (int r = 0; r < references; ++r)
    if (!(value(a, r).spec() == value(b, r).spec())) return false;
  return true;
}

// --- Steps -------------------------------------------------------------------------------------

/// Results that are not too large, and mostly numbers.
bool Drawer::values_are_fit(const Step& s) {
  for (int id : s.out) {
    if (id < 0 || !value(id).defined()) continue;
    const Tensor t = value(id);
    if (t.numel() > (large_ ? 1 << 19 : 1 << 13)) return false;
    if (!is_floating(t.dtype()) || t.numel() > 4096) continue;
    const NoGrad off;
    for (double v : t.detach().to_vector<double>())
      if (!std::isfinite(v) || std::abs(v) > 1e6) {
        if (!chance(0.15)) return false;
        break;
      }
  }
  return true;
}

/// Shows the program as it would be with this step; one of a block stands alone there.
void Drawer::try_out(const Step& s) const {
  Program p = program_;
  if (steps_ != &program_.steps)
    for (const Step& before : *steps_) p.steps.push_back(before);
  p.steps.push_back(s);
  for (const Step& step : p.steps)
    for (int id : step.out)
      if (id >= 0) p.results.push_back(id);
  trial_(p);
}

bool Drawer::accept(Step s) {
  for (int& id : s.out)
    if (id < 0) id = new_id();
  if (s.kind == Step::layer)
    for (auto& ref : references_) ref->state.add(program_, s);
  for (auto& ref : references_) ref->machine.grow(program_.values);
  if (trial_) try_out(s);
  const bool writes = s.in_place || s.kind == Step::write;
  bool good = true, wrote = false;
  for (int r = 0; r < references && good; ++r) {
    try {
      references_[size_t(r)]->machine.run(s);
      wrote = wrote || writes;
    } catch (const std::exception&) {
      good = false;
    }
  }
  if (!good || !values_are_fit(s)) {
    dirty_ = dirty_ || wrote;
    for (int id : s.out)
      for (auto& ref : references_) ref->machine.forget(id);
    return false;
  }
  for (int& id : s.out) {
    if (value(id).defined()) visible_.push_back(id);
    else id = -1;
  }
  block_wrote_ = block_wrote_ || (writes && depth_ > 0);
  steps_->push_back(std::move(s));
  return true;
}

bool Drawer::draw_step() {
  const size_t inputs = program_.inputs.size(), steps = steps_->size();
  const std::vector<int> visible = visible_;
  const double kind = random_.uniform();
  bool made = false;
  if (visible_.empty() || kind < 0.62 || depth_ > 1) made = draw_call();
  else if (kind < 0.70) made = draw_in_place();
  else if (kind < 0.75) made = draw_write();
  else if (kind < 0.83) made = draw_read();
  else if (kind < 0.88) made = draw_cond();
  else if (kind < 0.92) made = draw_while();
  else if (kind < 0.97) made = draw_fold();
  else if (kind < 0.985) made = draw_walk();
  else made = draw_decision();
  if (!made) {
    steps_->resize(steps);
    drop_inputs(inputs);
    visible_ = visible;
  }
  // What was written twice, or by a step that is gone, is made anew.
  if (depth_ == 0 && (dirty_ || block_wrote_)) rebuild();
  return made;
}

bool Drawer::draw() {
  const int wanted = 1 + int(below(8));
  try {
    for (int t = 0; t < tries && int(program_.steps.size()) < wanted; ++t) draw_step();
    return !program_.steps.empty() && finish();
  } catch (const std::exception&) {
    return false;  // a rebuilt program may be refused: its branches were tried on other values
  }
}

// --- The end -----------------------------------------------------------------------------------

/// Everything whose elements nobody needs, and all that shares memory with what was written.
void Drawer::choose_results() {
  const std::set<int> needed = needed_values(program_);
  std::set<const void*> memory;
  each_step(program_.steps, [&](const Step& s) {
    if (!s.in_place && s.kind != Step::write) return;
    const Tensor t = value(s.in[0].value);
    if (t.defined()) memory.insert(t.impl()->storage);
  });
  for (const Step& s : program_.steps)
    for (int id : s.out)
      if (id >= 0 && (!needed.count(id) || memory.count(value(id).impl()->storage)) &&
          std::find(program_.results.begin(), program_.results.end(), id) == program_.results.end())
        program_.results.push_back(id);
}

/// Whether some lengths fit the code that runs, but not a branch that is not taken. Graphs refuse
/// that, so it is rare here.
bool Drawer::hides_errors() {
  for (size_t c = 0; c < program_.calls.size(); ++c) {
    std::string error[2];
    for (int all : {0, 1}) {
      State state(program_);
      Machine machine(program_, state);
      if (all) machine.enter_all_blocks();
      try {
        evaluate(machine, program_, fed_inputs(program_, int(c)));
      } catch (const std::exception& e) {
        error[all] = e.what();
      }
    }
    if (error[0] != error[1]) return true;
  }
  return false;
}

bool Drawer::finish() {
  choose_results();
  prune(program_);
  choose_results();  // and what only steps that are gone needed
  if (program_.results.empty() || program_.steps.empty()) return false;
  if (hides_errors()) return false;
  bool trains = std::any_of(program_.inputs.begin(), program_.inputs.end(), [](const Input& i) {
    return i.role == Input::parameter && i.gradient;
  });
  each_step(program_.steps, [&](const Step& s) {
    trains = trains || (s.kind == Step::layer &&
                        !references_[0]->state.layer(s.out[0]).module->parameters().empty());
  });
  if (trains && chance(0.5)) {
    const std::string names[] = {"SGD", "momentum", "Adam", "AdamW", "RMSprop", "Adagrad"};
    program_.optimizer = pick(names);
    program_.clips = chance(0.2);
  }
  return true;
}

Program draw_program(uint64_t seed, const Trial& trial) {
  for (uint64_t attempt = 0;; ++attempt) {
    Drawer drawer(seed + (attempt << 48), trial);
    if (drawer.draw()) return drawer.take();
  }
}

}  // namespace tandem::five_ways
