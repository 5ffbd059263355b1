#include "tests/five_ways/machine.h"

#include <algorithm>
#include <cmath>

#include "tandem/tandem.h"

namespace tandem::five_ways {

Machine::Machine(const Program& p, State& state, const Noise* noise)
    : program_(p), state_(state), noise_(noise), values_(size_t(p.values)) {
  for (const Input& in : p.inputs)
    if (in.role == Input::parameter) values_[size_t(in.id)] = state.parameter(in.id);
}

void Machine::grow(int count) {
  if (values_.size() < size_t(count)) values_.resize(size_t(count));
  for (const Input& in : program_.inputs)
    if (in.role == Input::parameter) values_[size_t(in.id)] = state_.parameter(in.id);
}

std::vector<Tensor> Machine::results() const {
  std::vector<Tensor> out;
  for (int id : program_.results) out.push_back(value(id));
  return out;
}

// --- Numbers and operands ----------------------------------------------------------------------

Length Machine::length(const Expr& e) const {
  using std::max, std::min;
  switch (e.kind) {
    case Expr::size: return value(e.of).size(e.axis);
    case Expr::numel: return value(e.of).numel();
    case Expr::add: return length(e.parts[0]) + length(e.parts[1]);
    case Expr::sub: return length(e.parts[0]) - length(e.parts[1]);
    case Expr::mul: return length(e.parts[0]) * length(e.parts[1]);
    case Expr::div: return length(e.parts[0]) / length(e.parts[1]);
    case Expr::min: return min(length(e.parts[0]), length(e.parts[1]));
    case Expr::max: return max(length(e.parts[0]), length(e.parts[1]));
    default: return int64_t(e.value);
  }
}

Number Machine::real(const Expr& e) const {
  using std::log, std::sqrt;
  switch (e.kind) {
    case Expr::real: return e.value;
    case Expr::ratio: return real(e.parts[0]) / real(e.parts[1]);
    case Expr::sqrt: return sqrt(real(e.parts[0]));
    case Expr::log: return log(real(e.parts[0]));
    default: return Number(length(e));
  }
}

Tensor Machine::operand(const Operand& o) const {
  if (o.number) return o.number->is_real() ? Tensor(real(*o.number)) : Tensor(length(*o.number));
  return o.value >= 0 ? value(o.value) : Tensor();
}

Tensors Machine::operands(const Step& s) const {
  Tensors in;
  for (const Operand& o : s.in) in.push_back(operand(o));
  return in;
}

Values Machine::attributes(const Step& s) const {
  Values v(s.attributes);
  for (const Computed& c : s.computed) v.put(c, length(c.expr));
  return v;
}

std::vector<Index> Machine::index(const Step& s) const {
  std::vector<Index> list;
  for (const IndexItem& i : s.index) switch (i.kind) {
      case IndexItem::integer: list.emplace_back(length(*i.start)); break;
      case IndexItem::range: {
        Range r{{}, {}, i.step};
        if (i.start) r.start = length(*i.start);
        if (i.stop) r.stop = length(*i.stop);
        list.emplace_back(r);
        break;
      }
      case IndexItem::all: list.emplace_back(all); break;
      case IndexItem::none: list.emplace_back(none); break;
      case IndexItem::ellipsis: list.emplace_back(ellipsis); break;
      case IndexItem::tensor: list.emplace_back(value(i.value)); break;
    }
  return list;
}

// --- Steps -------------------------------------------------------------------------------------

Tensor Machine::disturbed(const Tensor& t) {
  testing::Random random(noise_->seed * 1000003 + disturbances_++);
  const double unit = t.dtype() == f64    ? 0x1p-52
                      : t.dtype() == f32  ? 0x1p-23
                      : t.dtype() == bf16 ? 0x1p-8
                                          : 0x1p-10;
  std::vector<double> factors(size_t(t.numel()));
  for (double& f : factors) f = 1 + unit * (2 * random.uniform() - 1);
  return t * detail::as_contiguous(wrap(std::move(factors), t.shape()), t.dtype());
}

void Machine::bind(const Step& s, Tensors out, const Tensors& in) {
  for (size_t k = 0; k < s.out.size(); ++k) {
    if (s.out[k] < 0) continue;
    Tensor& t = out[k];
    if (noise_ && t.defined() && is_floating(t.dtype()) && !t.impl()->has(TensorImpl::is_view) &&
        std::none_of(in.begin(), in.end(), [&](const Tensor& x) {
          return x.defined() && x.impl()->storage == t.impl()->storage;
        }))
      t = disturbed(t);
    values_[size_t(s.out[k])] = t;
  }
}

void Machine::run(const Step& s) {
  switch (s.kind) {
    case Step::record: return run_record(s);
    case Step::function: {
      const Tensors in = operands(s);
      const Callable* c = find_callable(s.kind, s.name);
      return bind(s, {c->function->call(attributes(s), {in.data(), in.size()})}, in);
    }
    case Step::layer: {
      const Tensors in = operands(s);
      Layer& layer = state_.layer(s.out[0]);
      return bind(s, layer.call(*layer.module, {in.data(), in.size()}), in);
    }
    case Step::read: {
      const Tensors in = operands(s);
      const std::vector<Index> list = index(s);
      return bind(s, {Indexed(in[0], list).tensor()}, in);
    }
    case Step::write: return run_write(s);
    case Step::cond:
    case Step::while_loop:
    case Step::fold: return run_region(s);
    case Step::walk: return run_walk(s);
    case Step::decide: return run_decision(s);
  }
}

void Machine::run_record(const Step& s) {
  const OpInfo& info = *find_callable(s.kind, s.name)->info;
  const testing::OwnedOp op(info);
  attributes(s).write(info, op.get());
  Tensors in = operands(s);
  // Its scores are rounded inside, and large ones decide by their last bits.
  if (noise_ && s.name == "scaled_dot_product_attention")
    for (int k : {0, 1}) in[k] = disturbed(in[k]);
  if (!s.in_place) return bind(s, detail::apply_all(info, op.get(), in.data(), int(in.size())), in);
  // As the in-place functions of ops/inplace.h do.
  if (in.size() == 1 && info.saves.in.has(0) && is_grad_enabled() && in[0].requires_grad()) {
    const Tensor copy = clone(in[0]);
    apply_inplace(CopyInto{}, {in[0], detail::apply1(info, op.get(), &copy, 1)});
  } else {
    detail::apply_inplace(info, op.get(), in.data(), int(in.size()));
  }
}

void Machine::run_write(const Step& s) {
  const Tensors in = operands(s);
  const std::vector<Index> list = index(s);
  auto part = [&] { return Indexed(in[0], list); };
  if (s.name == "=") part() = in[1];
  else if (s.name == "+=") part() += in[1];
  else if (s.name == "-=") part() -= in[1];
  else if (s.name == "*=") part() *= in[1];
  else part() /= in[1];
}

Tensors Machine::run(const Block& b, const Tensors& arguments) {
  for (size_t i = 0; i < b.arguments.size(); ++i) values_[size_t(b.arguments[i])] = arguments[i];
  run(b.steps);
  Tensors out;
  for (int id : b.results) out.push_back(value(id));
  // The inner values of a region must not be found outside of it.
  for (int id : b.arguments) forget(id);
  for (const Step& s : b.steps)
    for (int id : s.out)
      if (id >= 0) forget(id);
  return out;
}

void Machine::enter_blocks(const Step& s, const Tensors& in) {
  if (s.kind == Step::cond) {
    for (const Block& b : s.blocks) run(b, {});
  } else if (s.kind == Step::while_loop) {
    for (const Block& b : s.blocks) run(b, in);
  } else {
    Shape row = in[0].shape();
    row.erase(0);
    const Tensor first = zeros(row, in[0].dtype());
    run(s.blocks[0], in.size() > 1 ? Tensors{in[1], first} : Tensors{first});
  }
}

void Machine::run_region(const Step& s) {
  const Tensors in = operands(s);
  if (all_blocks_) enter_blocks(s, in);
  if (s.kind == Step::cond) {
    const auto out = cond(
        in[0], [&] { return run(s.blocks[0], {}); }, [&] { return run(s.blocks[1], {}); });
    return bind(s, Tensors(out.begin(), out.end()), in);
  }
  if (s.kind == Step::while_loop) {
    const auto out = while_loop([&](const Tensors& v) { return run(s.blocks[0], v)[0]; },
                                [&](const Tensors& v) { return run(s.blocks[1], v); },
                                std::vector<Tensor>(in.begin(), in.end()));
    return bind(s, Tensors(out.begin(), out.end()), in);
  }
  auto two = [&](const Tensor& a, const Tensor& b) { return run(s.blocks[0], {a, b})[0]; };
  auto one = [&](const Tensor& a) { return run(s.blocks[0], {a})[0]; };
  if (s.name == "foldl") bind(s, {foldl(two, in[0], in[1])}, in);
  else if (s.name == "foldr") bind(s, {foldr(two, in[0], in[1])}, in);
  else if (s.name == "scan") bind(s, {scan(two, in[0], in[1])}, in);
  else bind(s, {map_fn(one, in[0])}, in);
}

void Machine::run_walk(const Step& s) {
  const Tensors in = operands(s);
  Tensor sum = in[1];
  const auto n = in[0].size(0);
  for (int64_t i = 0; i < n; ++i) sum = run(s.blocks[0], {sum, in[0][i]})[0];
  bind(s, {sum}, in);
}

void Machine::run_decision(const Step& s) {
  const bool first = length(*s.in[0].number) > length(*s.in[1].number);
  bind(s, run(s.blocks[first ? 0 : 1], {}), {});
}

// --- Gradients ---------------------------------------------------------------------------------

NamedTensors leaves_of(const Program& p, const Machine& machine, const State& state) {
  NamedTensors all;
  for (const Input& in : p.inputs)
    if (in.role == Input::fed && in.gradient)
      all.emplace_back(cat("v", in.id), machine.value(in.id));
  for (const auto& entry : state.leaves()) all.push_back(entry);
  return all;
}

Tensor loss_of(const std::vector<Tensor>& results) {
  Tensor total;
  for (const Tensor& t : results) {
    if (!t.defined() || !is_floating(t.dtype()) || !t.requires_grad()) continue;
    const Tensor y = cast(t, t.dtype() == f64 ? f64 : f32);
    const Tensor part = sum(y * (tanh(y.detach()) + 0.3));
    total = total.defined() ? total + part : part;
  }
  return total;
}

std::vector<Tensor> gradients_of(const std::vector<Tensor>& results, const NamedTensors& leaves) {
  const Tensor loss = loss_of(results);
  std::vector<Tensor> by;
  for (const auto& [name, t] : leaves) by.push_back(t);
  Tensors found(by.size());
  if (loss.defined() && !by.empty()) found = grad({&loss, 1}, by, {}, {.allow_unused = true});
  std::vector<Tensor> out;
  for (size_t i = 0; i < by.size(); ++i)
    out.push_back(found[i].defined() ? found[i] : zeros_like(by[i]));
  return out;
}

}  // namespace tandem::five_ways
