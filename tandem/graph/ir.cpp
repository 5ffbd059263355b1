#include "tandem/graph/ir.h"

#include <algorithm>

#include "tandem/core/captured.h"
#include "tandem/core/factory.h"
#include "tandem/core/random.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/op/tape.h"
#include "tandem/ops/add.h"

namespace tandem::graph {

using tandem::detail::recorded_write;

std::shared_ptr<void> copy_record(const OpInfo& info, const void* op) {
  void* memory = ::operator new(std::max<size_t>(info.size, 1));
  info.copy(memory, op);
  return {memory, [&info](void* p) {
            if (info.destroy) info.destroy(p);
            ::operator delete(p);
          }};
}

ValueId Graph::add_value(const Spec& spec, std::string name, ValueKind kind) {
  Value v;
  v.spec = spec;
  v.name = std::move(name);
  v.kind = kind;
  values_.push_back(std::move(v));
  return ValueId(values_.size()) - 1;
}

ValueId Graph::add_constant(const Tensor& t) {
  const ValueId id = add_value(t.spec(), {}, ValueKind::constant);
  values_[size_t(id)].tensor = t;
  return id;
}

Tensor Graph::handle(ValueId id) {
  Tensor t = detail::new_symbolic(value(id).spec);
  if (value(id).number) t.impl()->flags |= TensorImpl::wrapped_number;
  detail::bind_symbolic(t, shared_from_this(), id);
  return t;
}

Tensor Graph::input(std::string name, const Spec& spec) {
  for (const Value& v : values_)
    require(v.name != name, "Graph::input(): the name \"", name, "\" is taken");
  inputs_.push_back(add_value(spec, std::move(name), ValueKind::input));
  return handle(inputs_.back());
}

void Graph::output(std::string name, const Tensor& t) {
  const ValueId id = id_of(t);
  Value& v = values_[size_t(id)];
  if (v.name.empty() && v.kind == ValueKind::result) v.name = name;
  outputs_.push_back(id);
  output_names_.push_back(std::move(name));
}

Tensor Graph::effect(Effect e) {
  const Spec spec = e.value >= 0 ? value(e.value).spec : Spec{{0}, f32, {}};
  const ValueId id = add_value(spec, {}, ValueKind::effect);
  effects_.emplace(id, std::move(e));
  return handle(id);
}

const Effect* Graph::find_effect(ValueId id) const {
  const auto it = effects_.find(id);
  return it == effects_.end() ? nullptr : &it->second;
}

std::vector<Assignment> Graph::take_assignments(size_t from) {
  std::vector<Assignment> taken(assignments_.begin() + std::ptrdiff_t(from), assignments_.end());
  assignments_.resize(from);
  return taken;
}

std::shared_ptr<Graph> Graph::clone() const {
  auto g = make();
  g->values_ = values_;
  g->nodes_ = nodes_;
  g->inputs_ = inputs_;
  g->outputs_ = outputs_;
  g->output_names_ = output_names_;
  g->assignments_ = assignments_;
  g->gradients_ = gradients_;
  g->gradients_of_ = gradients_of_;
  g->effects_ = effects_;
  g->variables_ = variables_;
  g->streams_ = streams_;
  g->lengths_ = lengths_;
  g->same_kernels_ = same_kernels_;
  return g;
}

Graph::~Graph() {
  if (lengths_ && lengths_->graph == this) lengths_->graph = nullptr;
}

Length Graph::unknown_length(const std::string& name) {
  if (!lengths_) {
    lengths_ = detail::LengthTable::make();
    lengths_->graph = this;
  }
  return lengths_->symbol(name);
}

ValueId Graph::id_of(const Tensor& t) {
  if (t.is_symbolic()) {
    if (t.impl()->has(TensorImpl::is_view)) detail::refresh_view(t);
    const TensorExtras& e = *t.impl()->extras;
    if (parent_ && e.recorder.get() != this)
      return t.impl()->has(TensorImpl::wrapped_number) ? number_again(t) : from_outside(t);
    require(e.recorder.get() == this, "graph: a symbolic ", t.spec(), " of another graph was used");
    return e.value;
  }
  const ValueId id = capture(t);
  for (const Assignment& a : assignments_)
    if (a.state == id) return a.value;
  return id;
}

/// A number of the graph around a region is calculated once more: inside it promotes as one, too.
ValueId Graph::number_again(const Tensor& t) {
  const TensorExtras& e = *t.impl()->extras;
  const auto& around = dynamic_cast<const Graph&>(*e.recorder);
  for (const Node& n : around.nodes())
    if (n.info->number && n.outputs[0] == e.value) {
      Node mine = n;
      const ValueId id = add_value(t.spec());
      values_.back().number = true;
      mine.outputs = {id};
      nodes_.push_back(std::move(mine));
      return id;
    }
  return from_outside(t);
}

/// What the function itself made never changes; everything else is state, one value a region.
ValueId Graph::capture(const Tensor& t) {
  const TensorImpl& impl = *t.impl();
  if (impl.has(TensorImpl::made_in_capture) || impl.has(TensorImpl::wrapped_number)) {
    const auto known = constants_.find({impl.storage, impl.data});
    if (known != constants_.end()) {
      const Tensor& have = value(known->second).tensor;
      if (have.spec() == t.spec() && have.strides() == t.strides() &&
          have.impl()->has(TensorImpl::wrapped_number) == impl.has(TensorImpl::wrapped_number))
        return known->second;
    }
    // A handle of its own: this one may become a symbolic value by a write.
    const Tensor kept = detail::alias(t);
    kept.impl()->flags |= impl.flags & TensorImpl::made_in_capture;
    return constants_[{impl.storage, impl.data}] = add_constant(kept);
  }
  if (parent_) return from_outside(t);
  auto& same = captured_[{impl.storage, impl.data}];
  for (ValueId id : same) {
    const Tensor& have = value(id).tensor;
    if (have.is_same(t)) return id;
    if (!(have.spec() == t.spec()) || have.strides() != t.strides()) continue;
    // Of several handles, the one that wants the gradient.
    if (t.requires_grad() && !have.requires_grad()) values_[size_t(id)].tensor = t;
    return id;
  }
  for (const Assignment& a : assignments_)
    require<NotImplemented>(value(a.state).tensor.impl()->storage != impl.storage,
                            "capture: ", t.spec(), " is a view, made outside the function, of a ",
                            value(a.state).spec,
                            " that the function has written; make the view inside");
  const ValueId id = add_value(t.spec(), {}, ValueKind::state);
  values_[size_t(id)].tensor = t;
  same.push_back(id);
  return id;
}

void Graph::record(const OpInfo& info, const void* op, Inputs in, Outputs out) {
  require(
      closed_.empty(), [&] { return info.print(op); }, ": a tensor of ", closed_,
      " is used outside of it; let the function return it");
  Node n;
  n.info = &info;
  n.op = copy_record(info, op);
  if (detail::module_path) n.path = detail::module_path;
  n.stops_gradient = detail::modes & Modes::stop_gradient;
  for (const Tensor& t : in) n.inputs.push_back(t.defined() ? id_of(t) : -1);
  for (Tensor& t : out) {
    const ValueId id = add_value(t.spec());
    values_.back().number = info.number;
    n.outputs.push_back(id);
    detail::bind_symbolic(t, shared_from_this(), id);
  }
  nodes_.push_back(std::move(n));
}

std::shared_ptr<Graph> Graph::make_region(Recorder& parent, bool draws) {
  auto g = make();
  g->parent_ = &parent;
  if (const auto* around = dynamic_cast<const Graph*>(&parent)) g->lengths_ = around->lengths_;
  g->draws_ = draws;
  return g;
}

/// The same value: one handle, two handles to one memory, or to one value of a graph.
static bool same_outside(const Tensor& a, const Tensor& b) {
  if (a.is_same(b)) return true;
  if (a.is_symbolic() != b.is_symbolic()) return false;
  if (!a.is_symbolic())
    return a.raw_data() == b.raw_data() && a.spec() == b.spec() && a.strides() == b.strides() &&
           a.requires_grad() == b.requires_grad() && a.impl()->storage == b.impl()->storage;
  const TensorExtras &x = *a.impl()->extras, &y = *b.impl()->extras;
  return x.recorder == y.recorder && x.value == y.value;
}

/// Of two looks at one value a detached one is an operand of its own: no gradient reaches it.
static bool same_history(const Tensor& a, const Tensor& b) {
  return !a.is_symbolic() ||
         (a.requires_grad() == b.requires_grad() && a.impl()->node == b.impl()->node);
}

/// Two regions of one memory, of which one is written.
static void check_apart(const Tensor& written, const Tensor& other) {
  require<NotImplemented>(other.is_symbolic() || other.impl()->storage != written.impl()->storage,
                          "cond() and while_loop(): an in-place write to a ", written.spec(),
                          " from outside the branch, whose memory is also used as ", other.spec(),
                          " through another handle; use one");
}

ValueId Graph::from_outside(const Tensor& t) {
  for (size_t i = 0; i < outer_.size(); ++i)
    if (same_outside(outer_[i], t) && (draws_ || same_history(outer_[i], t))) return outer_ids_[i];
  if (!t.is_symbolic())
    for (const Tensor& w : written()) check_apart(w, t);
  outer_.push_back(t);
  inputs_.push_back(add_value(t.spec(), cat("outer", outer_.size() - 1), ValueKind::input));
  outer_ids_.push_back(inputs_.back());
  return inputs_.back();
}

std::vector<Tensor> Graph::written() const {
  std::vector<Tensor> all;
  for (const Assignment& a : assignments_)
    for (size_t i = 0; i < outer_.size(); ++i)
      if (outer_ids_[i] == a.state) all.push_back(outer_[i]);
  return all;
}

ValueId Graph::last_value(const Tensor& outside) {
  const ValueId id = from_outside(outside);
  for (const Assignment& a : assignments_)
    if (a.state == id) return a.value;
  return id;
}

ValueId Graph::take_outer(const Tensor& outside) {
  const ValueId id = from_outside(outside);
  for (size_t i = 0; i < outer_.size(); ++i)
    if (outer_ids_[i] != id) check_apart(outside, outer_[i]);
  const auto at = std::find(outer_ids_.begin(), outer_ids_.end(), id) - outer_ids_.begin();
  outer_.erase(outer_.begin() + at);
  outer_ids_.erase(outer_ids_.begin() + at);
  std::erase(inputs_, id);
  return id;
}

void Graph::assign(const Tensor& target, const Tensor& to) {
  const ValueId state = capture(target), value = id_of(to);
  if (parent_) {
    for (size_t i = 0; i < outer_.size(); ++i)
      if (outer_ids_[i] != state) check_apart(target, outer_[i]);
    std::erase_if(assignments_, [&](const Assignment& a) { return a.state == state; });
    assignments_.push_back({state, value});
    return;
  }
  Storage& memory = *target.impl()->storage;
  memory.version += recorded_write;
  memory.writer = "a recorded function";
  recorded_writes_.push_back(target);
  for (const auto& [region, ids] : captured_)
    for (ValueId id : ids)
      require<NotImplemented>(
          id == state || this->value(id).tensor.impl()->storage != target.impl()->storage,
          "capture: an in-place write to ", target.spec(),
          ", whose memory the function also reads as ", this->value(id).spec,
          " through a view made outside");
  for (Assignment& a : assignments_)
    if (a.state == state) {
      a.value = value;
      return;
    }
  assignments_.push_back({state, value});
}

void Graph::begin_recording() {
  if (recording_++ == 0)
    for (const Tensor& t : recorded_writes_) t.impl()->storage->version += recorded_write;
}

void Graph::end_recording() {
  if (--recording_ == 0)
    for (const Tensor& t : recorded_writes_) t.impl()->storage->version -= recorded_write;
}

void Graph::forget_writes() {
  for (const Tensor& t : recorded_writes_) t.impl()->storage->version -= recorded_write;
  recorded_writes_.clear();
}

Tensor Graph::random_key(Generator& generator) {
  if ((parent_ && !draws_) || find_stream(generator)) {
    const Tensor key = stream_key(generator);
    const detail::CaptureScope scope(*this);
    Tensor step = empty({2}, i64);
    step.data<int64_t>()[0] = 0;
    step.data<int64_t>()[1] = 1;
    advance_stream(generator, key + step);
    return key;
  }
  const ValueId id = add_value({{2}, i64, {}}, {}, ValueKind::key);
  values_[size_t(id)].generator = generator.twin();
  return handle(id);
}

RandomStream* Graph::find_stream(Generator& generator) {
  if (streams_.empty()) return nullptr;
  const std::shared_ptr<Generator> twin = generator.twin();
  for (RandomStream& s : streams_)
    if (s.generator == twin) return &s;
  return nullptr;
}

Tensor Graph::stream_key(Generator& generator) {
  if (const RandomStream* s = find_stream(generator)) return handle(s->now);
  RandomStream fresh;
  fresh.generator = generator.twin();
  const Spec spec{{2}, i64, {}};
  if (parent_ && !draws_) {
    fresh.now = fresh.begin = add_value(spec, {}, ValueKind::input);
  } else {
    fresh.now = fresh.begin = id_of(random_key(generator));
    const detail::Uncaptured now;
    fresh.state = add_value(spec, {}, ValueKind::state);
    values_[size_t(fresh.state)].tensor = zeros({2}, i64);
  }
  streams_.push_back(fresh);
  return handle(fresh.now);
}

void Graph::advance_stream(Generator& generator, const Tensor& next) {
  RandomStream& s = *find_stream(generator);
  s.now = id_of(next);
  if (s.state >= 0) s.later.push_back(s.now);
}

void Graph::set_stream(Generator& generator, ValueId begin, ValueId last) {
  const Spec spec{{2}, i64, {}};
  require(value(begin).kind == ValueKind::key && value(last).spec == spec,
          "graph: a stream of random numbers begins and ends with a key, not with a ",
          value(begin).spec, " and a ", value(last).spec);
  RandomStream s;
  s.generator = generator.twin();
  s.now = last;
  s.begin = begin;
  s.later = {last};
  const detail::Uncaptured now;
  s.state = add_value(spec, {}, ValueKind::state);
  values_[size_t(s.state)].tensor = zeros({2}, i64);
  streams_.push_back(std::move(s));
  assignments_.push_back({streams_.back().state, last});
}

void Graph::end_streams() {
  for (const RandomStream& s : streams_)
    if (!s.later.empty()) assignments_.push_back({s.state, s.later.back()});
}

void Graph::gradient_changes(const Tensor& leaf, bool accumulates) {
  // Of a region, or an argument: its own gradient is a value of this graph, which must not own it.
  if (parent_ || leaf.is_symbolic()) return;
  for (const GradientWrite& g : gradients_)
    if (g.leaf.is_same(leaf)) return;
  gradients_.push_back({leaf, detail::extras(*leaf.impl()).grad, -1, accumulates});
}

void Graph::gradient_is_read(const Tensor& leaf) {
  if (parent_) return parent_->gradient_is_read(leaf);
  const Tensor& now = detail::extras(*leaf.impl()).grad;
  if (leaf.is_symbolic() || (now.defined() && now.is_symbolic())) return;
  auto same = [&](const auto& known) { return known.leaf.is_same(leaf); };
  if (std::any_of(gradients_.begin(), gradients_.end(), same) ||
      std::any_of(gradients_read_.begin(), gradients_read_.end(), same))
    return;
  gradients_read_.push_back({leaf, now});
}

void Graph::length_is_read(const CallSite& where) {
  if (!reads_.empty() && reads_.back().first == nodes_.size()) reads_.back().second = where;
  else reads_.emplace_back(nodes_.size(), where);
}

std::string Graph::read_before(size_t k) const {
  const CallSite* last = nullptr;
  for (const auto& [at, where] : reads_)
    if (at <= k) last = &where;
  return last ? cat(", after the length that was read at ", last->file, ":", last->line)
              : std::string();
}

void Graph::depends_on(const std::shared_ptr<const OwnedSwitch>& s, bool by_value) {
  if (parent_) parent_->depends_on(s, by_value);
  if (s->made_in == this) return;  // the code makes its owner whenever it runs
  auto it = std::find_if(switches_.begin(), switches_.end(),
                         [&](const UsedSwitch& known) { return known.of == s; });
  if (it == switches_.end()) it = switches_.insert(it, {s, std::nullopt});
  if (by_value && !it->value) it->value = s->on;
}

void Graph::gradient_of(int64_t value, std::string op, int input, std::string path,
                        const Tensor& condition, bool holds) {
  std::string where = path.empty() ? path : cat(" in module ", path);
  const ValueId when = condition.defined() ? id_of(condition) : -1;
  gradients_of_.push_back(
      {value, std::move(op), input, where + detail::RecordedAt::text(), when, holds});
}

std::string Graph::origin(int64_t id) const {
  if (!value(id).name.empty()) return cat(" \"", value(id).name, "\"");
  for (const Node& n : nodes_)
    for (ValueId out : n.outputs)
      if (out == id)
        return cat(" of ", n.info->print(n.op.get()),
                   n.path.empty() ? std::string() : cat(" in module ", n.path));
  return {};
}

void Graph::take_gradients() {
  for (GradientWrite& g : gradients_) {
    Tensor& now = detail::extras(*g.leaf.impl()).grad;
    if (now.defined()) g.value = id_of(now);
    now = g.before;
    // Added to a gradient that was there: the sum is written over it, so that the next run adds to
    // the sum.
    if (g.accumulates && g.before.defined() && g.value >= 0) {
      assignments_.push_back({capture(g.before), g.value});
      g.value = -2;
    }
  }
}

Tensors Graph::run(Inputs inputs) const {
  require(inputs.size() == inputs_.size(), "Graph::run(): ", inputs.size(), " inputs for ",
          inputs_.size());
  std::vector<Tensor> live(values_.size());
  for (size_t i = 0; i < values_.size(); ++i)
    live[i] =
        values_[i].kind == ValueKind::key ? values_[i].generator->next_key() : values_[i].tensor;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& want = values_[size_t(inputs_[i])];
    require<DTypeError>(inputs[i].dtype() == want.spec.dtype, "Graph::run(): input \"", want.name,
                        "\" is ", want.spec.dtype, ", got ", inputs[i].dtype());
    require<ShapeError>(inputs[i].shape() == want.spec.shape, "Graph::run(): input \"", want.name,
                        "\" has shape ", want.spec.shape, ", got ", inputs[i].shape());
    live[size_t(inputs_[i])] = inputs[i];
  }
  for (const Node& n : nodes_) {
    Tensors in;
    for (ValueId id : n.inputs) in.push_back(id < 0 ? Tensor() : live[size_t(id)]);
    const EnableGrad mode(detail::grad_enabled() && !n.stops_gradient);
    Tensors out = detail::apply_all(*n.info, n.op.get(), in.data(), int(in.size()));
    for (size_t i = 0; i < n.outputs.size(); ++i) live[size_t(n.outputs[i])] = out[i];
  }
  Tensors results;
  for (ValueId id : outputs_) results.push_back(live[size_t(id)]);
  return results;
}

}  // namespace tandem::graph
