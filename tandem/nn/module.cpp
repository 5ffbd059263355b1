#include "tandem/nn/module.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "tandem/core/factory.h"
#include "tandem/core/set_data.h"
#include "tandem/op/recorder.h"

namespace tandem::nn {
namespace {

/// A visitor that ignores what it is not told of.
struct Visitor : ModuleVisitor {
  void parameter(std::string_view, Tensor&) override {}
  void buffer(std::string_view, Tensor&, bool) override {}
  void module(std::string_view, ModuleBase&) override {}
};

template <class F>
void for_each_child(ModuleBase& m, F f) {
  struct Children final : Visitor {
    explicit Children(F& fn) : fn(fn) {}
    F& fn;
    void module(std::string_view name, ModuleBase& child) override { fn(name, child); }
  } visitor(f);
  m.visit(visitor);
}

enum class Kind { parameter, buffer, transient };

/// Calls `f(path, tensor, kind)` for every tensor of the tree, also undefined ones.
template <class F>
class TensorWalk final : public ModuleVisitor {
 public:
  explicit TensorWalk(F& f) : f_(f) {}
  void parameter(std::string_view name, Tensor& t) override {
    f_(detail::join(prefix_, name), t, Kind::parameter);
  }
  void buffer(std::string_view name, Tensor& t, bool persistent) override {
    f_(detail::join(prefix_, name), t, persistent ? Kind::buffer : Kind::transient);
  }
  void module(std::string_view name, ModuleBase& m) override {
    const std::string before = prefix_;
    prefix_ = detail::join(prefix_, name);
    m.visit(*this);
    prefix_ = before;
  }

 private:
  F& f_;
  std::string prefix_;
};
template <class F>
void for_each_tensor(const ModuleBase& m, F f) {
  TensorWalk<F> walk(f);
  const_cast<ModuleBase&>(m).visit(walk);
}

void walk_modules(ModuleBase& m, const std::string& path,
                  std::vector<std::pair<std::string, ModuleBase*>>& out) {
  out.emplace_back(path, &m);
  for_each_child(m, [&](std::string_view name, ModuleBase& child) {
    walk_modules(child, detail::join(path, name), out);
  });
}

NamedTensors collect(const ModuleBase& m, bool parameters) {
  NamedTensors out;
  std::unordered_set<TensorImpl*> seen;
  for_each_tensor(m, [&](std::string path, Tensor& t, Kind kind) {
    if (t.defined() && (kind == Kind::parameter) == parameters && seen.insert(t.impl()).second)
      out.emplace_back(std::move(path), t);
  });
  return out;
}

std::vector<Tensor> without_names(const NamedTensors& list) {
  std::vector<Tensor> out;
  out.reserve(list.size());
  for (const auto& [name, t] : list) out.push_back(t);
  return out;
}

}  // namespace

// --- Hooks ------------------------------------------------------------------------------------

namespace detail {

struct HookList {
  struct Entry {
    int64_t id;
    bool before;
    std::shared_ptr<ForwardHook> hook;
  };
  std::vector<Entry> entries;
  int64_t next = 0;
};

Hooks::Hooks() = default;
Hooks::Hooks(Hooks&& o) noexcept = default;
Hooks::~Hooks() = default;
Hooks::Hooks(const Hooks& o) : list_(o.list_ ? std::make_unique<HookList>(*o.list_) : nullptr) {}
Hooks& Hooks::operator=(Hooks o) noexcept {
  list_ = std::move(o.list_);
  return *this;
}

int64_t Hooks::add(bool before, std::shared_ptr<ForwardHook> hook) {
  if (!list_) list_ = std::make_unique<HookList>();
  list_->entries.push_back({list_->next, before, std::move(hook)});
  return list_->next++;
}

void Hooks::remove(int64_t id) {
  if (list_) std::erase_if(list_->entries, [&](const auto& e) { return e.id == id; });
}

void Hooks::run(bool before, ModuleBase& m, Tensors& inputs, Tensors& outputs) const {
  if (!list_) return;
  const auto entries = list_->entries;  // a hook may remove itself
  const size_t n_in = inputs.size(), n_out = outputs.size();
  for (const auto& e : entries)
    if (e.before == before) e.hook->call(m, inputs, outputs);
  require(
      inputs.size() == n_in && outputs.size() == n_out, [&] { return m.type_name(); },
      ": a forward hook changed the number of tensors");
}

// --- The path of the running module -----------------------------------------------------------

namespace {

// Names are looked up by address in the outermost module, so that modules need not know their
// parents.
struct Running {
  std::unordered_map<const ModuleBase*, std::string> paths;
  std::deque<std::string> stack;  // its strings never move
};
thread_local Running running;

}  // namespace

TrainingMode::TrainingMode() : switch_(std::make_shared<OwnedSwitch>()) {
  if (tandem::detail::modes & Modes::capture) switch_->made_in = tandem::detail::capturing;
}
TrainingMode::TrainingMode(const TrainingMode& o) : TrainingMode() { switch_->on = o.on(); }
TrainingMode::TrainingMode(TrainingMode&& o) noexcept : switch_(std::move(o.switch_)) {}
TrainingMode& TrainingMode::operator=(TrainingMode o) noexcept {
  std::swap(switch_, o.switch_);
  return *this;
}
TrainingMode::~TrainingMode() {
  if (switch_) switch_->owned = false;
}
void TrainingMode::set(bool on) {
  if (!switch_) switch_ = std::make_shared<OwnedSwitch>();
  switch_->on = on;
}
void TrainingMode::note(bool by_value) const {
  if (!switch_) switch_ = std::make_shared<OwnedSwitch>();
  tandem::detail::capturing->depends_on(switch_, by_value);
}

PathScope::PathScope(const ModuleBase& m) {
  if (tandem::detail::modes & Modes::capture) m.note_use();
  if (!(tandem::detail::modes & ~uint32_t(Modes::off_tape))) return;
  active_ = true;
  before_ = tandem::detail::module_path;
  if (running.stack.empty()) {
    const std::string root = m.type_name();
    for (auto& [path, module] : const_cast<ModuleBase&>(m).named_modules())
      running.paths.emplace(module, path.empty() ? root : cat(root, ".", path));
  }
  const auto known = running.paths.find(&m);
  std::string path =
      known != running.paths.end()
          ? known->second
          : cat(running.stack.empty() ? std::string() : running.stack.back(), ".", m.type_name());
  running.stack.push_back(std::move(path));
  tandem::detail::module_path = running.stack.back().c_str();
}

PathScope::~PathScope() {
  if (!active_) return;
  running.stack.pop_back();
  if (running.stack.empty()) running.paths.clear();
  tandem::detail::module_path = before_;
}

}  // namespace detail

// --- Members that a list lacks ------------------------------------------------------------------

namespace detail {
namespace {
std::mutex living_mutex;
Living* living_first = nullptr;
}  // namespace

Living::Living() noexcept {
  const std::lock_guard lock(living_mutex);
  before_ = nullptr;
  after_ = std::exchange(living_first, this);
  if (after_) after_->before_ = this;
}
Living::~Living() {
  const std::lock_guard lock(living_mutex);
  (before_ ? before_->after_ : living_first) = after_;
  if (after_) after_->before_ = before_;
}
std::vector<const char*> Living::all() {
  std::vector<const char*> out;
  {
    const std::lock_guard lock(living_mutex);
    for (const Living* l = living_first; l; l = l->after_)
      out.push_back(reinterpret_cast<const char*>(l));
  }
  std::sort(out.begin(), out.end());
  return out;
}
}  // namespace detail

// --- Lists ------------------------------------------------------------------------------------

Tensor parameter(Tensor t) {
  t.requires_grad_();
  t.impl()->flags |= TensorImpl::parameter;
  return t;
}

namespace {

/// What the lists of a module and its submodules lead to. Errors: ValueError for a member that is
/// listed as a parameter and is none.
struct Reached final : Visitor {
  std::vector<const ModuleBase*> modules;
  const ModuleBase* owner = nullptr;

  void parameter(std::string_view name, Tensor& t) override {
    if (!t.defined()) return;
    require(
        t.impl()->has(TensorImpl::parameter) || t.requires_grad(),
        [&] { return owner->type_name(); }, ": the member ", name,
        " is no parameter; make it with nn::parameter(), or list it with buffer()");
  }
  void buffer(std::string_view, Tensor&, bool) override {}
  void module(std::string_view, ModuleBase& m) override {
    const ModuleBase* before = std::exchange(owner, &m);
    modules.push_back(&m);
    m.visit(*this);
    owner = before;
  }
};

}  // namespace

/// Looks inside the objects of this module and its submodules for modules that live there and that
/// no list leads to.
void ModuleBase::check_members() const {
  if (checked_) return;
  Reached reached;
  reached.module("", const_cast<ModuleBase&>(*this));
  const std::ptrdiff_t place =
      reinterpret_cast<const char*>(&living_) - reinterpret_cast<const char*>(this);
  std::unordered_set<const char*> listed;
  for (const ModuleBase* m : reached.modules)
    listed.insert(reinterpret_cast<const char*>(&m->living_));
  const std::vector<const char*> living = detail::Living::all();
  for (const ModuleBase* m : reached.modules) {
    if (m->checked_) continue;
    const std::span<const char> memory = m->memory();
    const char *first = memory.data(), *end = first + memory.size();
    for (auto it = std::lower_bound(living.begin(), living.end(), first);
         it != living.end() && *it < end; ++it)
      if (!listed.contains(*it))
        throw ValueError(cat(m->type_name(), ": its list of fields lacks a member that is a ",
                             reinterpret_cast<const ModuleBase*>(*it - place)->type_name()));
    m->checked_ = true;
  }
}

NamedTensors ModuleBase::named_parameters() const {
  check_members();
  return collect(*this, true);
}
NamedTensors ModuleBase::named_buffers() const {
  check_members();
  return collect(*this, false);
}
std::vector<Tensor> ModuleBase::parameters() const { return without_names(named_parameters()); }
std::vector<Tensor> ModuleBase::buffers() const { return without_names(named_buffers()); }

std::vector<std::pair<std::string, ModuleBase*>> ModuleBase::named_modules() {
  std::vector<std::pair<std::string, ModuleBase*>> out;
  walk_modules(*this, "", out);
  return out;
}

std::vector<std::pair<std::string, ModuleBase*>> ModuleBase::named_children() {
  std::vector<std::pair<std::string, ModuleBase*>> out;
  for_each_child(*this, [&](std::string_view name, ModuleBase& m) { out.emplace_back(name, &m); });
  return out;
}

std::vector<ModuleBase*> ModuleBase::children_first() {
  std::vector<ModuleBase*> out;
  for_each_child(*this, [&](std::string_view, ModuleBase& child) {
    for (ModuleBase* m : child.children_first()) out.push_back(m);
  });
  out.push_back(this);
  return out;
}

ModuleBase& ModuleBase::submodule(std::string_view path) {
  for (auto& [name, m] : named_modules())
    if (name == path) return *m;
  throw IndexError(cat("submodule(\"", path, "\"): ", type_name(), " has no such submodule"));
}

int64_t ModuleBase::num_parameters(bool trainable_only) const {
  int64_t n = 0;
  for (const Tensor& p : parameters())
    if (!trainable_only || p.requires_grad()) n += p.numel();
  return n;
}

// --- Changes ----------------------------------------------------------------------------------

void ModuleBase::set_training(bool on) {
  check_members();
  training_.set(on);
  for_each_child(*this, [&](std::string_view, ModuleBase& m) { m.set_training(on); });
}

void ModuleBase::set_requires_grad(bool on) {
  for (Tensor& p : parameters()) p.requires_grad_(on);
}

void ModuleBase::zero_grad(bool set_to_none) {
  for (const Tensor& p : parameters()) {
    Tensor g = p.grad();
    if (!g.defined()) continue;
    if (set_to_none) {
      p.set_grad({});
    } else {
      const NoGrad guard;
      p.set_grad(zeros_like(g));
    }
  }
}

void ModuleBase::convert(std::optional<DType> dtype, std::optional<Device> device) {
  require<DTypeError>(!dtype || is_floating(*dtype), "to(): parameters need a floating dtype, got ",
                      dtype.value_or(f32));
  check_members();
  const NoGrad guard;
  std::unordered_set<TensorImpl*> seen;
  auto converted = [&](const Tensor& t) {
    Tensor v = t.detach();
    if (dtype && is_floating(v.dtype())) v = v.to(*dtype);
    if (device && !(v.device() == *device)) v = v.to(*device);
    return v;
  };
  for_each_tensor(*this, [&](std::string_view, Tensor& t, Kind) {
    if (!t.defined() || !seen.insert(t.impl()).second) return;
    const Tensor g = t.grad();
    tandem::detail::set_data(t, converted(t));
    if (g.defined()) t.set_grad(converted(g));
  });
}

void ModuleBase::separate() {
  check_members();
  const NoGrad guard;
  std::unordered_map<TensorImpl*, Tensor> copies;
  for_each_tensor(*this, [&](std::string_view, Tensor& t, Kind) {
    if (!t.defined()) return;
    Tensor& copy = copies[t.impl()];
    if (!copy.defined()) {
      copy = t.detach().clone();
      if (t.requires_grad()) copy.requires_grad_();
      copy.impl()->flags |= t.impl()->flags & TensorImpl::parameter;
    }
    t = copy;
  });
}

// --- state_dict -------------------------------------------------------------------------------

NamedTensors ModuleBase::state_dict() const {
  check_members();
  NamedTensors out;
  for_each_tensor(*this, [&](std::string path, Tensor& t, Kind kind) {
    if (t.defined() && kind != Kind::transient) out.emplace_back(std::move(path), t.detach());
  });
  return out;
}

namespace {

std::string list_of(const char* what, const std::vector<std::string>& names) {
  std::string s = cat("; ", names.size(), " ", what, names.size() == 1 ? ": " : "s: ");
  for (size_t i = 0; i < names.size(); ++i) s += cat(i ? ", " : "", names[i]);
  return s;
}

}  // namespace

LoadReport ModuleBase::load_state_dict(const NamedTensors& state, LoadOptions options) {
  check_members();
  std::unordered_map<std::string_view, const Tensor*> given;
  for (const auto& [name, t] : state)
    require(given.emplace(name, &t).second, "load_state_dict(): the name ", name, " appears twice");

  LoadReport report;
  std::vector<std::string> mismatched;
  std::vector<std::pair<Tensor, Tensor>> copies;
  std::unordered_set<std::string_view> used;
  for_each_tensor(*this, [&](std::string path, Tensor& t, Kind kind) {
    if (!t.defined() || kind == Kind::transient) return;
    const auto it = given.find(path);
    if (it == given.end()) {
      report.missing.push_back(std::move(path));
      return;
    }
    used.insert(it->first);
    const Tensor& v = *it->second;
    if (!v.defined()) mismatched.push_back(cat(path, " is undefined"));
    else if (v.shape() != t.shape())
      mismatched.push_back(cat(path, " is ", v.shape(), ", not ", t.shape()));
    else copies.emplace_back(t, v);
  });
  for (const auto& [name, t] : state)
    if (!used.count(name)) report.unexpected.push_back(name);

  std::string text;
  if (options.strict && !report.missing.empty()) text += list_of("missing key", report.missing);
  if (options.strict && !report.unexpected.empty())
    text += list_of("unexpected key", report.unexpected);
  if (!mismatched.empty()) text += list_of("wrong shape", mismatched);
  require(
      text.empty(), "load_state_dict(", [&] { return type_name(); },
      "): ", [&] { return text.substr(2); });

  const NoGrad guard;
  for (auto& [to, from] : copies) to.copy_(from);
  return report;
}

// --- Printing ---------------------------------------------------------------------------------

namespace {

std::string with_commas(int64_t n) {
  std::string s = cat(n);
  for (int64_t i = int64_t(s.size()) - 3; i > 0; i -= 3) s.insert(size_t(i), 1, ',');
  return s;
}

struct Line {
  std::string text;
  int64_t count = -1;  ///< parameters; negative: none to be shown
};

void print_tree(ModuleBase& m, const std::string& indent, const std::string& label,
                std::vector<Line>& lines) {
  struct Values final : Visitor {
    std::string text;
    void add(std::string_view name, std::string_view v) {
      text += cat(text.empty() ? "" : ", ", name, "=", v);
    }
    void parameter(std::string_view name, Tensor& t) override {
      if (!t.defined()) add(name, "none");
    }
    void value(std::string_view name, const std::string& v) override { add(name, v); }
  } values;
  values.wants_values = true;
  m.visit(values);

  const auto children = m.named_children();
  const std::string head = cat(indent, label, m.type_name(), "(", values.text);
  const int64_t count = m.num_parameters();
  if (children.empty()) {
    lines.push_back({head + ")", count ? count : -1});
    return;
  }
  lines.push_back({head, count ? count : -1});
  for (auto& [name, child] : children)
    print_tree(*child, indent + "  ", cat("(", name, "): "), lines);
  lines.push_back({indent + ")"});
}

std::string bytes_text(int64_t bytes) {
  const char* units[] = {"bytes", "KiB", "MiB", "GiB"};
  double v = double(bytes);
  int u = 0;
  while (v >= 1024 && u < 3) v /= 1024, ++u;
  char s[48];
  std::snprintf(s, sizeof s, u ? "%.2f %s" : "%.0f %s", v, units[u]);
  return s;
}

}  // namespace

std::string ModuleBase::str() const {
  std::vector<Line> lines;
  print_tree(const_cast<ModuleBase&>(*this), "", "", lines);
  size_t width = 0, digits = 0;
  for (const Line& line : lines)
    if (line.count >= 0) {
      width = std::max(width, line.text.size());
      digits = std::max(digits, with_commas(line.count).size());
    }
  std::string s;
  for (const Line& line : lines) {
    s += line.text;
    if (line.count >= 0) {
      const std::string n = with_commas(line.count);
      s.append(width - line.text.size() + 2 + digits - n.size(), ' ');
      s += n;
    }
    s += '\n';
  }
  int64_t bytes = 0;
  for (const Tensor& p : parameters()) bytes += p.numel() * itemsize(p.dtype());
  return s + cat(with_commas(num_parameters()), " parameters, ", with_commas(num_parameters(true)),
                 " trainable, ", bytes_text(bytes));
}

}  // namespace tandem::nn
