// Writes in place, and control flow.
#include <algorithm>

#include "tandem/ops/index.h"
#include "tests/five_ways/draw.h"

namespace tandem::five_ways {
namespace {

bool elementwise(const Callable& c) {
  return c.info && c.info->broadcasts && c.info->outputs == 1 && !c.name.ends_with("_grad");
}

}  // namespace

/// A value that may be written: made by the program, views first. A block writes its own values
/// only: what it writes to others is no result of it.
int Drawer::draw_target() {
  const size_t begin = depth_ > 0 ? block_begin_ : 0;
  for (int t = 0; t < 10 && begin < visible_.size(); ++t) {
    const int id = visible_[begin + size_t(below(int64_t(visible_.size() - begin)))];
    // A session's run changes no tensor from outside.
    const Input* in = input_shared_with(id);
    if (program_.find_input(id) || (in && (in->role == Input::parameter || !chance(0.02))))
      continue;
    if (depth_ > 0 && shares_outer(id)) continue;
    if (t < 6 && !value(id).impl()->has(TensorImpl::is_view)) continue;
    return id;
  }
  return -1;
}

/// The input that a write to the value writes to; null for none.
const Input* Drawer::input_shared_with(int id) const {
  for (const Input& in : program_.inputs)
    if (value(in.id).impl()->storage == value(id).impl()->storage) return &in;
  return nullptr;
}

bool Drawer::shares_outer(int id) const {
  return std::any_of(visible_.begin(), visible_.begin() + long(block_begin_), [&](int outer) {
    return value(outer).impl()->storage == value(id).impl()->storage;
  });
}

bool Drawer::draw_in_place() {
  const int target = draw_target();
  if (target < 0) return false;
  const Callable* chosen = &pick(catalogue());
  for (int t = 0; t < 10 && !(elementwise(*chosen) && chosen->info->differentiable); ++t)
    chosen = &pick(catalogue());
  const Callable& c = *chosen;
  if (!elementwise(c) || !c.info->differentiable) return false;
  const CallSample& sample = pick(c.samples);
  if (sample.in.empty() || sample.in.size() > 3) return false;
  Step s{.kind = Step::record, .name = c.name, .attributes = sample.attributes, .in_place = true};
  s.in = {{target, {}}};
  for (size_t i = 1; i < sample.in.size(); ++i) {
    Operand o;
    if (chance(0.4)) o.number = draw_number(is_floating(value(target).dtype()));
    else if (chance(0.7)) o.value = visible_[size_t(below(int64_t(visible_.size())))];
    if (o.value < 0 && !o.number) {
      Dims dims;
      InputSpec spec = sample.in[i];
      spec.shape = value(target).shape();
      for (int a = 0; a < spec.shape.size(); ++a) {
        dims[1000 + a] = dim_of(target, a);
        spec.shape[a] = 1000 + a;
      }
      o.value = add_input(spec, dims);
      if (o.value < 0) return false;
    }
    s.in.push_back(o);
  }
  return accept(std::move(s));
}

bool Drawer::draw_write() {
  const int target = draw_target();
  if (target < 0 || value(target).dim() == 0) return false;
  constexpr std::string_view operators[] = {"=", "+=", "-=", "*=", "/="};
  Step s{.kind = Step::write, .name = std::string(pick(operators))};
  s.in = {{target, {}}, {}};
  s.index = draw_index(target, true);
  if (chance(0.25)) {  // by a mask
    InputSpec mask = sample::mask(value(target).shape());
    Dims dims;
    for (int a = 0; a < mask.shape.size(); ++a) {
      dims[1000 + a] = dim_of(target, a);
      mask.shape[a] = 1000 + a;
    }
    const int id = add_input(mask, dims);
    if (id < 0) return false;
    s.index = {{IndexItem::tensor, {}, {}, 1, id}};
  }
  if (chance(0.6)) s.in[1].number = draw_number(is_floating(value(target).dtype()));
  else s.in[1].value = visible_[size_t(below(int64_t(visible_.size())))];
  return accept(std::move(s));
}

// --- Blocks ------------------------------------------------------------------------------------

/// One more step for the last value: the result of a block has to have the spec of `like`.
bool Drawer::end_block(Block& b, int like, size_t outer) {
  for (size_t i = visible_.size(); i-- > outer;)
    if (same_spec(visible_[i], like) && !program_.find_input(visible_[i])) {
      b.results.push_back(visible_[i]);
      return true;
    }
  for (int t = 0; t < 25; ++t) {
    const Callable& c = pick(catalogue());
    if (!elementwise(c)) continue;
    const size_t steps = steps_->size(), visible = visible_.size();
    if (!draw_elementwise(c, like)) continue;
    if (same_spec(visible_.back(), like)) {
      b.results.push_back(visible_.back());
      return true;
    }
    steps_->resize(steps);
    visible_.erase(std::find(visible_.begin(), visible_.end(), visible_.back()));
    if (visible_.size() > visible) break;
  }
  return false;
}

bool Drawer::draw_block(Block& b, int like, int steps) {
  std::vector<Step>* outer_steps = steps_;
  const std::vector<int> outer = visible_;
  const size_t inputs = program_.inputs.size(), outer_begin = block_begin_;
  for (int id : b.arguments) visible_.push_back(id);
  block_begin_ = visible_.size();
  steps_ = &b.steps;
  ++depth_;
  for (int t = 0; t < 2 * steps && int(b.steps.size()) < steps && !dirty_; ++t) draw_step();
  const bool good = !dirty_ && end_block(b, like, outer.size());
  --depth_;
  block_begin_ = outer_begin;
  steps_ = outer_steps;
  // Inputs that the block brought are the program's; its own values are seen by nobody else.
  visible_ = outer;
  for (size_t i = inputs; i < program_.inputs.size(); ++i)
    visible_.push_back(program_.inputs[i].id);
  return good;
}

int Drawer::add_record(const std::string& name, std::vector<Operand> in, Attributes set) {
  const Callable* c = find_callable(Step::record, name);
  Step s{.kind = Step::record, .name = name, .attributes = c->samples[0].attributes};
  for (const auto& [key, v] : set)
    for (auto& [have, old] : s.attributes)
      if (have == key) old = v;
  s.in = std::move(in);
  s.out = {-1};
  if (!accept(std::move(s))) return -1;
  return visible_.back();
}

/// A one-element condition on a value.
int Drawer::predicate() {
  const int id = pick_value([&](int v) { return value(v).dtype() != boolean; });
  if (id < 0) return -1;
  const int total = add_record("sum", {{id, {}}}, {{"axes", Shape()}, {"keepdim", false}});
  if (total < 0) return -1;
  const Expr limit = Expr::constant(chance(0.5) ? 0.0 : 3.0);
  return add_record(chance(0.5) ? "gt" : "lt", {{total, {}}, {-1, limit}});
}

bool Drawer::draw_cond() {
  const int condition = predicate();
  if (condition < 0) return false;
  const int like =
      pick_value([&](int v) { return v != condition && is_floating(value(v).dtype()); });
  if (like < 0) return false;
  Step s{.kind = Step::cond};
  s.in = {{condition, {}}};
  s.blocks.resize(2);
  for (Block& b : s.blocks)
    if (!draw_block(b, like, int(below(3)))) return false;
  s.out = {-1};
  return accept(std::move(s));
}

bool Drawer::draw_while() {
  const int like = pick_value([&](int v) { return is_floating(value(v).dtype()); });
  if (like < 0) return false;
  Step start{.kind = Step::function, .name = "zeros"};
  start.attributes = {{"shape", Shape()}, {"dtype", i64}};
  start.out = {-1};
  if (!accept(std::move(start))) return false;
  const int counter = visible_.back();
  Step s{.kind = Step::while_loop};
  s.in = {{counter, {}}, {like, {}}};
  s.blocks.resize(2);
  for (Block& b : s.blocks) {
    b.arguments = {new_id(), new_id()};
    for (int r = 0; r < 2; ++r) {
      Machine& m = references_[size_t(r)]->machine;
      m.grow(program_.values);
      m.feed(b.arguments[0], value(counter, r));
      m.feed(b.arguments[1], value(like, r));
    }
  }
  Expr limit = Expr::integer(below(4));
  if (chance(0.3))
    if (std::optional<Expr> n = draw_length()) limit = Expr::made(Expr::min, *n, Expr::integer(4));
  Block &test = s.blocks[0], &body = s.blocks[1];
  const int less = new_id(), next = new_id();
  const auto lt = find_callable(Step::record, "lt"), add = find_callable(Step::record, "add");
  test.steps.push_back({.kind = Step::record, .name = lt->name, .attributes = {}});
  test.steps.back().in = {{test.arguments[0], {}}, {-1, limit}};
  test.steps.back().out = {less};
  test.results = {less};
  body.steps.push_back({.kind = Step::record, .name = add->name, .attributes = {}});
  body.steps.back().in = {{body.arguments[0], {}}, {-1, Expr::integer(1)}};
  body.steps.back().out = {next};
  body.results = {next};
  Block inner;
  inner.arguments = {body.arguments[1]};
  if (!draw_block(inner, body.arguments[1], int(below(3)))) return false;
  for (Step& step : inner.steps) body.steps.push_back(std::move(step));
  body.results.push_back(inner.results[0]);
  s.out = {-1, -1};
  return accept(std::move(s));
}

bool Drawer::draw_fold() {
  const int elements = pick_value([&](int v) {
    return is_floating(value(v).dtype()) && value(v).dim() > 0 && value(v).size(0) < 20;
  });
  if (elements < 0) return false;
  constexpr std::string_view kinds[] = {"foldl", "foldr", "scan", "map_fn"};
  Step s{.kind = Step::fold, .name = std::string(pick(kinds))};
  // A fold starts from what has the spec of a row.
  const int start = add_record("sum", {{elements, {}}}, {{"axes", Shape{0}}, {"keepdim", false}});
  if (start < 0) return false;
  const bool maps = s.name == "map_fn";
  s.in = {{elements, {}}};
  if (!maps) s.in.push_back({start, {}});
  s.blocks.resize(1);
  Block& b = s.blocks[0];
  if (!maps) b.arguments = {new_id()};
  b.arguments.push_back(new_id());
  for (int r = 0; r < 2; ++r) {
    Machine& m = references_[size_t(r)]->machine;
    m.grow(program_.values);
    m.feed(b.arguments[0], value(start, r));
    m.feed(b.arguments.back(), value(elements, r)[0]);
  }
  if (!draw_block(b, b.arguments[0], 1 + int(below(3)))) return false;
  s.out = {-1};
  return accept(std::move(s));
}

bool Drawer::draw_walk() {
  const int elements = pick_value([&](int v) {
    return is_floating(value(v).dtype()) && value(v).dim() > 0 && value(v).size(0) < 20;
  });
  if (elements < 0 || depth_ > 0) return false;
  const int start = add_record("sum", {{elements, {}}}, {{"axes", Shape{0}}, {"keepdim", false}});
  if (start < 0) return false;
  Step s{.kind = Step::walk};
  s.in = {{elements, {}}, {start, {}}};
  s.blocks.resize(1);
  Block& b = s.blocks[0];
  b.arguments = {new_id(), new_id()};
  for (int r = 0; r < 2; ++r) {
    Machine& m = references_[size_t(r)]->machine;
    m.grow(program_.values);
    m.feed(b.arguments[0], value(start, r));
    m.feed(b.arguments[1], value(start, r));
  }
  if (!draw_block(b, b.arguments[0], 1 + int(below(2)))) return false;
  s.out = {-1};
  return accept(std::move(s));
}

bool Drawer::draw_decision() {
  if (depth_ > 0) return false;
  const std::optional<Expr> n = draw_length();
  const int like = pick_value([&](int v) { return is_floating(value(v).dtype()); });
  if (!n || like < 0) return false;
  Step s{.kind = Step::decide};
  s.in = {{-1, *n}, {-1, Expr::integer(1 + below(6))}};
  s.blocks.resize(2);
  for (Block& b : s.blocks)
    if (!draw_block(b, like, int(below(2)))) return false;
  s.out = {-1};
  return accept(std::move(s));
}

}  // namespace tandem::five_ways
