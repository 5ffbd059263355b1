#include "tests/five_ways/shrink.h"

#include <algorithm>
#include <set>

#include "tandem/core/tensor.h"
#include "tests/five_ways/catalogue.h"
#include "tests/five_ways/runs.h"

namespace tandem::five_ways {
namespace {

bool writes(const Step& s) { return s.in_place || s.kind == Step::write; }

/// Every value that anything reads.
std::set<int> read_values(const Program& p) {
  std::set<int> read(p.results.begin(), p.results.end());
  each_step(p.steps, [&](const Step& s) {
    each_read(s, [&](int id) { read.insert(id); });
    for (const Block& b : s.blocks) read.insert(b.results.begin(), b.results.end());
  });
  return read;
}

void replace_value(std::vector<Step>& steps, int from, int to) {
  each_step(steps, [&](Step& s) {
    each_read(s, [&](int& id) { id = id == from ? to : id; });
    for (Block& b : s.blocks)
      for (int& id : b.results) id = id == from ? to : id;
  });
}
void replace_value(Program& p, int from, int to) {
  replace_value(p.steps, from, to);
  for (int& id : p.results) id = id == from ? to : id;
}

bool prune_steps(std::vector<Step>& steps, const std::set<int>& read) {
  const size_t before = steps.size();
  std::erase_if(steps, [&](const Step& s) {
    if (writes(s)) return false;
    return std::none_of(s.out.begin(), s.out.end(), [&](int id) { return read.count(id) > 0; });
  });
  bool changed = steps.size() != before;
  for (Step& s : steps)
    for (Block& b : s.blocks) changed = prune_steps(b.steps, read) || changed;
  return changed;
}

/// Whether a write reaches an input through views alone, or what nobody reads: no drawn program
/// does that.
bool writes_in_vain(const Program& p) {
  std::map<int, int> looks_at;  // a value that may be a view, and of what
  auto root = [&](int id) {
    for (auto it = looks_at.find(id); it != looks_at.end(); it = looks_at.find(id)) id = it->second;
    return id;
  };
  std::set<int> written, read(p.results.begin(), p.results.end());
  each_step(p.steps, [&](const Step& s) {
    const Callable* c = find_callable(s.kind, s.name);
    const bool view = s.kind == Step::read || (c && c->info && c->info->view) ||
                      (c && c->function && !s.in.empty() && !c->function->draws);
    if (view && !s.in_place && !s.out.empty()) looks_at[s.out[0]] = s.in[0].value;
    if (writes(s)) written.insert(root(s.in[0].value));
    else
      for (const Operand& o : s.in) read.insert(o.value);
    for (const Block& b : s.blocks) read.insert(b.results.begin(), b.results.end());
  });
  std::set<int> needed;
  for (int id : read) needed.insert(root(id));
  return std::any_of(written.begin(), written.end(),
                     [&](int id) { return p.find_input(id) || !needed.count(id); });
}

/// Whether every value is made before it is read, and needed for more than its shape: graphs do not
/// compute what nobody needs.
bool is_whole(const std::vector<Step>& steps, std::set<int> known, const std::set<int>& needed) {
  for (const Step& s : steps) {
    bool good = writes(s) || std::any_of(s.out.begin(), s.out.end(),
                                         [&](int id) { return needed.count(id) > 0; });
    each_read(s, [&](int id) { good = good && known.count(id); });
    for (const Block& b : s.blocks) {
      std::set<int> inner = known;
      inner.insert(b.arguments.begin(), b.arguments.end());
      good = good && is_whole(b.steps, inner, needed);
      for (const Step& step : b.steps) inner.insert(step.out.begin(), step.out.end());
      for (int id : b.results) good = good && inner.count(id);
    }
    if (!good) return false;
    known.insert(s.out.begin(), s.out.end());
  }
  return true;
}

/// The lists of steps of a program: its own, and those of blocks.
std::vector<std::vector<Step>*> lists_of(std::vector<Step>& steps) {
  std::vector<std::vector<Step>*> all = {&steps};
  for (Step& s : steps)
    for (Block& b : s.blocks)
      for (auto* list : lists_of(b.steps)) all.push_back(list);
  return all;
}

class Shrinker {
 public:
  Shrinker(Program p, const Shrinking& how) : best_(std::move(p)), how_(how) {}

  Program run() {
    for (bool again = true; again && !how_.enough();) {
      again = false;
      again = fewer_calls() || again;
      again = fewer_results() || again;
      again = fewer_steps() || again;
      again = cuts() || again;
      again = simpler_inputs() || again;
      again = simpler_lengths() || again;
      again = simpler_steps() || again;
    }
    return best_;
  }

 private:
  /// Takes the candidate when it still fails.
  bool take(Program candidate) {
    if (how_.enough()) return false;
    prune(candidate);
    std::set<int> inputs;
    for (const Input& in : candidate.inputs) inputs.insert(in.id);
    if (candidate.results.empty() || writes_in_vain(candidate) ||
        !is_whole(candidate.steps, inputs, needed_values(candidate)))
      return false;
    const std::string text = to_json(candidate).dump();
    if (!tried_.insert(text).second || !how_.fails(candidate)) return false;
    best_ = std::move(candidate);
    facts_.reset();
    return true;
  }
  template <class Change>
  bool attempt(const Change& change) {
    Program candidate = best_;
    change(candidate);
    return take(std::move(candidate));
  }
  const Facts& facts() {
    if (!facts_) facts_ = how_.facts(best_);
    return *facts_;
  }

  bool fewer_calls() {
    bool any = false;
    for (size_t c = 0; c < best_.calls.size() && best_.calls.size() > 1; ++c)
      if (attempt([&](Program& p) { p.calls = {best_.calls[c]}; })) return true;
    for (size_t c = best_.calls.size(); c-- > 0 && best_.calls.size() > 1;)
      any = attempt([&](Program& p) { p.calls.erase(p.calls.begin() + long(c)); }) || any;
    return any;
  }

  bool fewer_results() {
    bool any = false;
    for (size_t i = 0; i < best_.results.size() && best_.results.size() > 1; ++i)
      if (attempt([&](Program& p) { p.results = {best_.results[i]}; })) return true;
    for (size_t i = best_.results.size(); i-- > 0 && best_.results.size() > 1;)
      any = attempt([&](Program& p) { p.results.erase(p.results.begin() + long(i)); }) || any;
    if (!best_.optimizer.empty()) any = attempt([&](Program& p) { p.optimizer.clear(); }) || any;
    return any;
  }

  /// Leaves out a step; its results become one of its operands.
  bool fewer_steps() {
    bool any = false;
    for (size_t list = 0; list < lists_of(best_.steps).size(); ++list)
      for (size_t i = lists_of(best_.steps)[list]->size(); i-- > 0;) {
        if (list >= lists_of(best_.steps).size() || i >= lists_of(best_.steps)[list]->size()) break;
        const Step s = (*lists_of(best_.steps)[list])[i];
        auto without = [&](int stand_in) {
          return attempt([&](Program& p) {
            auto& steps = *lists_of(p.steps)[list];
            steps.erase(steps.begin() + long(i));
            for (int id : s.out)
              if (id >= 0 && stand_in >= 0) replace_value(p, id, stand_in);
            std::erase_if(p.results, [&](int id) {
              return stand_in < 0 && std::count(s.out.begin(), s.out.end(), id) > 0;
            });
          });
        };
        if (writes(s) || s.out.empty()) {
          any = without(-1) || any;
          continue;
        }
        std::set<int> options;
        each_read(s, [&](int id) { options.insert(id); });
        bool done = false;
        for (int id : options) done = done || without(id);
        any = any || done;
      }
    return any;
  }

  /// Replaces the results of a step by new inputs.
  bool cuts() {
    bool any = false;
    for (size_t i = best_.steps.size(); i-- > 0;) {
      if (i >= best_.steps.size()) continue;
      const Step s = best_.steps[i];
      if (writes(s)) continue;
      std::vector<Input> inputs;
      for (int id : s.out)
        if (id >= 0)
          if (std::optional<Input> in = input_like(id)) inputs.push_back(*in);
      if (inputs.empty()) continue;
      any = attempt([&](Program& p) {
              p.steps.erase(p.steps.begin() + long(i));
              for (const Input& in : inputs) p.inputs.push_back(in);
            }) ||
            any;
    }
    return any;
  }

  std::optional<Input> input_like(int id) {
    const auto known = facts().find(id);
    if (known == facts().end() || known->second.size() != best_.calls.size()) return {};
    const std::vector<Spec>& specs = known->second;
    Input in;
    in.id = id;
    in.dtype = specs[0].dtype;
    in.gradient = is_floating(in.dtype) && best_.has_gradient();
    if (!is_floating(in.dtype)) {
      in.fill = in.dtype == boolean ? InputSpec::mask : InputSpec::index;
      in.scale = 2;
    }
    for (int a = 0; a < specs[0].shape.size(); ++a) {
      Input::Axis axis{specs[0].shape[a], -1};
      bool fixed = true;
      for (const Spec& s : specs) {
        if (s.shape.size() != specs[0].shape.size()) return {};
        fixed = fixed && s.shape[a] == axis.length;
      }
      for (int k = 0; k < best_.symbols() && !fixed; ++k) {
        bool same = named_lengths || k == a;
        for (size_t c = 0; c < specs.size(); ++c)
          same = same && best_.calls[c][size_t(k)] == specs[c].shape[a];
        if (same) axis.symbol = k;
      }
      if (!fixed && axis.symbol < 0) return {};
      in.shape.push_back(axis);
    }
    return in;
  }

  bool simpler_inputs() {
    bool any = false;
    for (size_t i = 0; i < best_.inputs.size(); ++i) {
      auto with = [&](const auto& change) {
        if (i >= best_.inputs.size()) return;
        any = attempt([&](Program& p) { change(p.inputs[i]); }) || any;
      };
      if (best_.inputs[i].gradient) with([](Input& in) { in.gradient = false; });
      if (i >= best_.inputs.size()) break;
      if (best_.inputs[i].last != 0) with([](Input& in) { in.last = 0; });
      if (i >= best_.inputs.size()) break;
      if (best_.inputs[i].layout != Layout::plain)
        with([](Input& in) { in.layout = Layout::plain; });
      if (i >= best_.inputs.size()) break;
      if (best_.inputs[i].role == Input::parameter) with([](Input& in) { in.role = Input::fed; });
      if (i >= best_.inputs.size()) break;
      const Input now = best_.inputs[i];
      if (is_floating(now.dtype) && now.dtype != f32) with([](Input& in) { in.dtype = f32; });
      if (now.fill != InputSpec::normal && is_floating(now.dtype))
        with([](Input& in) {
          in.fill = InputSpec::normal;
          in.scale = 1;
          in.shift = 0;
        });
    }
    bool narrow = false;
    for (const Input& in : best_.inputs)
      narrow = narrow || (is_floating(in.dtype) && in.dtype != f32);
    if (narrow)
      any = attempt([](Program& p) {
              for (Input& in : p.inputs)
                if (is_floating(in.dtype)) in.dtype = f32;
            }) ||
            any;
    return any;
  }

  /// Smaller lengths, of all axes that have one length at once.
  bool simpler_lengths() {
    bool any = false;
    std::set<int64_t> lengths;
    for (const Input& in : best_.inputs)
      for (const Input::Axis& a : in.shape)
        if (a.symbol < 0 && a.length > 1) lengths.insert(a.length);
    for (int64_t n : lengths)
      for (int64_t smaller : {int64_t(1), int64_t(2), n / 2, n - 1})
        if (smaller < n && smaller > 0 && attempt([&](Program& p) {
              for (Input& in : p.inputs)
                for (Input::Axis& a : in.shape)
                  if (a.symbol < 0 && a.length == n) a.length = smaller;
            })) {
          any = true;
          break;
        }
    for (int k = 0; k < best_.symbols(); ++k) {
      any = attempt([&](Program& p) {
              const int64_t n = p.calls[0][size_t(k)];
              for (Input& in : p.inputs) {
                for (Input::Axis& a : in.shape)
                  if (a.symbol == k) a = {n, -1};
                if (in.below != k) continue;
                in.below = -1;
                in.scale = double(n);
              }
            }) ||
            any;
      for (size_t c = 0; c < best_.calls.size(); ++c)
        for (int64_t n : {1, 2, 3, 4})
          if (n < best_.calls[c][size_t(k)] &&
              attempt([&](Program& p) { p.calls[c][size_t(k)] = n; })) {
            any = true;
            break;
          }
    }
    // Axes of inputs one by one.
    for (size_t i = 0; i < best_.inputs.size(); ++i)
      for (size_t a = 0; i < best_.inputs.size() && a < best_.inputs[i].shape.size(); ++a)
        if (best_.inputs[i].shape[a].symbol < 0 && best_.inputs[i].shape[a].length > 1)
          any = attempt([&](Program& p) { p.inputs[i].shape[a].length = 1; }) || any;
    return any;
  }

  /// Default attributes, plain numbers.
  bool simpler_steps() {
    bool any = false;
    for (size_t list = 0; list < lists_of(best_.steps).size(); ++list)
      for (size_t i = 0; i < lists_of(best_.steps)[list]->size(); ++i) {
        auto with = [&](const auto& change) {
          if (list >= lists_of(best_.steps).size()) return;
          if (i >= lists_of(best_.steps)[list]->size()) return;
          any = attempt([&](Program& p) { change((*lists_of(p.steps)[list])[i]); }) || any;
        };
        const Step s = (*lists_of(best_.steps)[list])[i];
        const Callable* c = find_callable(s.kind, s.name);
        Attributes plain = s.attributes;
        if (c && c->info) {
          const testing::OwnedOp op(*c->info);
          testing::FieldReader reader;
          c->info->visit(op.get(), reader);
          plain = reader.fields;
        }
        for (size_t k = 0; k < s.attributes.size(); ++k)
          if (cpp_differs(s.attributes[k].second, plain[k].second))
            with([&](Step& step) { step.attributes[k].second = plain[k].second; });
        for (size_t k = 0; k < s.computed.size(); ++k)
          with([&](Step& step) { step.computed.erase(step.computed.begin() + long(k)); });
        for (size_t k = 0; k < s.in.size(); ++k)
          if (s.in[k].number && !s.in[k].number->parts.empty())
            for (const Expr& part : s.in[k].number->parts)
              with([&](Step& step) { step.in[k].number = part; });
        for (size_t k = 0; k < s.in.size(); ++k)
          if (s.in[k].number && s.in[k].number->value != 2)
            with([&](Step& step) { step.in[k].number = Expr::constant(2); });
        for (size_t k = s.index.size(); k-- > 0;)
          if (s.index[k].kind != IndexItem::all)
            with([&](Step& step) { step.index[k] = {IndexItem::all}; });
          else if (k + 1 == s.index.size() && k > 0)
            with([&](Step& step) { step.index.pop_back(); });
      }
    return any;
  }

  static bool cpp_differs(const FieldValue& a, const FieldValue& b) {
    return std::visit(testing::FieldToJson{}, a) != std::visit(testing::FieldToJson{}, b);
  }

  Program best_;
  const Shrinking& how_;
  std::set<std::string> tried_;
  std::optional<Facts> facts_;
};

}  // namespace

void prune(Program& p) {
  for (bool again = true; again;) {
    std::set<int> read = read_values(p);
    again = prune_steps(p.steps, read);
    // A write to what nobody else reads.
    for (auto* list : lists_of(p.steps)) {
      const size_t before = list->size();
      std::erase_if(*list, [&](const Step& s) {
        if (!writes(s)) return false;
        const int target = s.in[0].value;
        int64_t uses = std::count(p.results.begin(), p.results.end(), target);
        each_step(p.steps, [&](const Step& other) {
          each_read(other, [&](int id) { uses += id == target; });
          for (const Block& b : other.blocks)
            uses += std::count(b.results.begin(), b.results.end(), target);
        });
        return uses <= 1 && p.find_input(target);
      });
      again = again || list->size() != before;
      if (again) break;
    }
  }
  const std::set<int> read = read_values(p);
  std::erase_if(p.inputs, [&](const Input& in) { return !read.count(in.id); });
}

Program shrink(Program p, const Shrinking& how) { return Shrinker(std::move(p), how).run(); }

Facts facts_of(const Program& p) {
  Facts facts;
  State state(p);
  for (size_t c = 0; c < p.calls.size(); ++c) {
    Machine machine(p, state);
    try {
      evaluate(machine, p, fed_inputs(p, int(c)));
    } catch (const std::exception&) {
      // What was made before the error is known.
    }
    for (const Step& s : p.steps)
      for (int id : s.out)
        if (id >= 0 && machine.value(id).defined()) facts[id].push_back(machine.value(id).spec());
  }
  return facts;
}

Json to_json(const Facts& facts) {
  Json j = Json::object();
  for (const auto& [id, specs] : facts)
    for (const Spec& s : specs)
      j[cat(id)].push_back(
          {{"shape", testing::shape_json(s.shape)}, {"dtype", std::string(name(s.dtype))}});
  return j;
}

Facts facts_from(const Json& j) {
  Facts facts;
  for (const auto& [id, specs] : j.items())
    for (const Json& s : specs)
      facts[std::stoi(id)].push_back(
          {testing::shape_of(s.at("shape")), testing::dtype_named(s.at("dtype")), {}});
  return facts;
}

}  // namespace tandem::five_ways
