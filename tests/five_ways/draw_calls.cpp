// Calls of records, functions and layers: a sample says how, values take the places of its inputs.
#include <algorithm>
#include <cmath>

#include "tests/five_ways/draw.h"

namespace tandem::five_ways {
namespace {

bool is_axis_field(std::string_view name) {
  return name.find("ax") != name.npos || name == "source" || name == "destination" ||
         name == "start_dim" || name == "end_dim";
}
/// Attributes that user code makes from lengths.
bool takes_length(std::string_view name) {
  constexpr std::string_view names[] = {"shape", "start", "stop",    "length", "n",
                                        "end",   "steps", "repeats", "size",   "m"};
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}
/// Records that exist for the gradients and updates of others.
bool is_inner(const Callable& c) {
  return c.info && (c.name.ends_with("_grad") || c.name.ends_with("_step"));
}
/// The type that a sample's dtype asks for: any floating one, any integer, bool.
bool fits_dtype(DType have, DType wanted, DType real) {
  if (wanted == f64 || wanted == f32) return have == real || (have == f32 && real != f64);
  return have == wanted;
}
/// The others exist for the record's own gradient, and their dtype is no promise.
int results_of(const OpInfo& info) {
  constexpr std::string_view first_only[] = {"max_pool2d", "batch_norm",
                                             "scaled_dot_product_attention"};
  if (std::find(std::begin(first_only), std::end(first_only), info.name) != std::end(first_only))
    return 1;
  return testing::results_of(info);
}
bool is_elementwise(const Callable& c) {
  return c.info && c.info->broadcasts && c.info->outputs == 1;
}

}  // namespace

bool Drawer::draw_call() {
  const Callable& c = pick(catalogue());
  if (is_inner(c) && !chance(0.25)) return false;
  if (c.kind == Step::layer && (real_ != f32 || depth_ > 0)) return false;
  constexpr double ties[] = {1, 1, 0.8, 0.4, 0};
  for (int t = 0; t < 8; ++t) {
    tie_ = pick(ties);
    const size_t inputs = program_.inputs.size();
    const bool made = draw_call(c);
    tie_ = 1;
    if (made) return true;
    drop_inputs(inputs);
    if (dirty_) return false;
  }
  return false;
}

bool Drawer::draw_call(const Callable& c) {
  if (is_elementwise(c) && !visible_.empty() && chance(0.6)) return draw_elementwise(c, -1);
  const CallSample& sample = pick(c.samples);
  int64_t elements = 0;
  for (const InputSpec& in : sample.in) elements += in.shape.numel();
  if (elements > 2000 && !large_) return false;
  Step s{.kind = c.kind, .name = c.name, .attributes = sample.attributes};
  Dims dims;
  choose_operands(sample, s, dims);
  if (!fill_operands(sample, s, dims)) return false;
  vary_attributes(s, dims);
  const int outputs = c.info ? results_of(*c.info) : 1;
  s.out.assign(size_t(outputs), -1);
  if (c.layer && !c.layer->result.empty())
    s.out.assign(size_t(1 + std::count(c.layer->result.begin(), c.layer->result.end(), ',')), -1);
  return accept(std::move(s));
}

/// Values for some of the inputs.
void Drawer::choose_operands(const CallSample& sample, Step& s, Dims& dims) {
  s.in.resize(sample.in.size());
  for (size_t i = 0; i < sample.in.size(); ++i) {
    const InputSpec& spec = sample.in[i];
    if (spec.fill == InputSpec::absent || !chance(i == 0 ? 0.85 : 0.45)) continue;
    const int id = pick_value([&](int v) {
      const Tensor t = value(v);
      if (!fits_dtype(t.dtype(), spec.dtype, real_) || t.dim() != spec.shape.size()) return false;
      if (spec.fill == InputSpec::index && program_.find_input(v) == nullptr && !chance(0.3))
        return false;
      for (int a = 0; a < t.dim(); ++a) {
        const auto known = dims.find(spec.shape[a]);
        if (known == dims.end()) continue;
        for (int r = 0; r < 2; ++r)
          if (known->second.now[r] != value(v, r).size(a)) return chance(0.05);
      }
      return true;
    });
    if (id < 0) continue;
    s.in[i].value = id;
    for (int a = 0; a < spec.shape.size(); ++a)
      if (!dims.count(spec.shape[a])) dims[spec.shape[a]] = dim_of(id, a);
  }
}

/// New inputs for the others.
bool Drawer::fill_operands(const CallSample& sample, Step& s, Dims& dims) {
  for (size_t i = 0; i < sample.in.size(); ++i) {
    const InputSpec& spec = sample.in[i];
    if (spec.fill == InputSpec::absent || s.in[i].value >= 0) continue;
    // Behind the first of a list nothing may stand: that is an error, not a crash.
    if (i > 0 && chance(0.003)) continue;
    int id = add_input(spec, dims);
    if (id < 0) return false;
    if (chance(0.2)) id = disguise(id);
    s.in[i].value = id;
    for (int a = 0; a < spec.shape.size(); ++a)
      if (dims[spec.shape[a]].of < 0) {
        dims[spec.shape[a]].of = id;
        dims[spec.shape[a]].at = a;
      }
  }
  return true;
}

/// Makes the last input one of another geometry, and a view that is what it was: permuted, cropped,
/// stepped or expanded memory for whatever reads it.
int Drawer::disguise(int id) {
  Input& last = program_.inputs.back();
  if (last.id != id || last.shape.empty() || last.fill == InputSpec::listed) return id;
  const size_t n = last.shape.size(), axis = size_t(below(int64_t(n)));
  Input in = last;
  Step view{.kind = Step::record};
  view.out = {-1};
  Input::Axis& a = in.shape[axis];
  const int64_t kind = below(3);
  if (kind == 0) {  // axes whose lengths are not known stay where they are
    std::vector<int64_t> order(n);
    for (size_t k = 0; k < n; ++k) order[k] = int64_t(k);
    for (size_t k = 0; k < n; ++k) {
      const size_t other = size_t(below(int64_t(n)));
      const bool fixed = in.shape[k].symbol < 0 && in.shape[other].symbol < 0;
      if (named_lengths || fixed) std::swap(order[k], order[other]);
    }
    Shape axes = Shape::filled(int(n), 0);
    for (size_t k = 0; k < n; ++k) {
      in.shape[size_t(order[k])] = last.shape[k];
      axes[int(k)] = order[k];
    }
    view.name = "permute";
    view.attributes = {{"axes", axes}};
  } else if (a.symbol >= 0 || a.length < 1) {
    return id;
  } else if (kind == 1) {
    const int64_t step = 1 + below(2), first = below(3), length = a.length;
    a.length = first + length * step + below(2);
    view.name = "slice";
    view.attributes = {{"axis", int64_t(axis)},
                       {"start", std::optional<int64_t>(first)},
                       {"stop", std::optional<int64_t>(first + length * step)},
                       {"step", step}};
  } else {
    Shape wide = Shape::filled(int(n), -1);
    wide[int(axis)] = a.length;
    a.length = 1;
    view.name = "expand";
    view.attributes = {{"shape", wide}};
  }
  drop_inputs(program_.inputs.size() - 1);
  view.in = {{add_input(in), {}}};
  return accept(std::move(view)) ? visible_.back() : program_.inputs.back().id;
}

bool Drawer::draw_elementwise(const Callable& c, int first) {
  const CallSample& sample = pick(c.samples);
  Step s{.kind = c.kind, .name = c.name, .attributes = sample.attributes};
  s.out = {-1};
  const size_t inputs = program_.inputs.size();
  int shaped = first;  // a value whose shape the new ones take
  for (size_t i = 0; i < sample.in.size(); ++i) {
    const InputSpec& spec = sample.in[i];
    Operand o;
    if (i == 0 && first >= 0) o.value = first;
    else if (spec.fill == InputSpec::absent) o = {};
    else if (i > 0 && shaped >= 0 && chance(0.25)) o.number = draw_number(is_floating(spec.dtype));
    else if (chance(0.75))
      o.value = pick_value(
          [&](int v) { return fits_dtype(value(v).dtype(), spec.dtype, real_) || chance(0.05); });
    if (o.value < 0 && !o.number && spec.fill != InputSpec::absent) {
      if (shaped < 0) {
        Dims dims;
        o.value = add_input(spec, dims);
      } else {
        // The shape of another operand, or what broadcasts with it.
        InputSpec like = spec;
        like.shape = value(shaped).shape();
        Dims dims;
        for (int a = 0; a < like.shape.size(); ++a) {
          const Dim d = dim_of(shaped, a);
          like.shape[a] = chance(0.2) ? 1 : 1000 + a;
          dims[1000 + a] = d;
          dims[1] = {{1, -1}, true, -1, 0, {1, 1}};
        }
        while (!like.shape.empty() && chance(0.15)) {
          Shape shorter;
          for (int a = 1; a < like.shape.size(); ++a) shorter.push_back(like.shape[a]);
          like.shape = shorter;
        }
        o.value = add_input(like, dims);
      }
      if (o.value < 0) break;
    }
    if (o.value >= 0) shaped = o.value;
    s.in.push_back(o);
  }
  vary_attributes(s, {});
  if (s.in.size() == sample.in.size() && accept(std::move(s))) return true;
  drop_inputs(inputs);
  return false;
}

// --- Attributes --------------------------------------------------------------------------------

void Drawer::vary_attributes(Step& s, const Dims& dims) {
  for (auto& [name, v] : s.attributes) vary(v, name, s, dims);
}

void Drawer::vary_integer(int64_t& v, const std::string& field, int entry, Step& s,
                          const Dims& dims) {
  if (is_axis_field(field)) {
    if (chance(0.2)) v = below(4) - (v < 0 ? 4 : 0);
    return;
  }
  const auto known = v > 1 ? dims.find(v) : dims.end();
  if (known != dims.end() && known->second.of >= 0 && chance(0.75)) {
    const Dim& d = known->second;
    if (!d.varies()) v = d.now[0];
    else if (takes_length(field)) s.computed.push_back({field, entry, Expr::length(d.of, d.at)});
    return;
  }
  if (takes_length(field) && chance(0.3))
    if (std::optional<Expr> e = draw_length()) {
      s.computed.push_back({field, entry, std::move(*e)});
      return;
    }
  if (!chance(0.12)) return;
  const int64_t others[] = {0, 1, 2, 3, -1, v + 1, v - 1, 8};
  v = pick(others);
}

void Drawer::vary(FieldValue& value, const std::string& field, Step& s, const Dims& dims) {
  if (auto* flag = std::get_if<bool>(&value)) {
    if (chance(0.2)) *flag = !*flag;
  } else if (auto* integer = std::get_if<int64_t>(&value)) {
    vary_integer(*integer, field, -1, s, dims);
  } else if (auto* number = std::get_if<double>(&value)) {
    constexpr double factors[] = {0.5, 2, -1, 3};
    if (chance(0.12)) *number *= pick(factors);
  } else if (auto* dtype = std::get_if<DType>(&value)) {
    constexpr DType all[] = {f32, f64, f16, bf16, i64, i32, boolean};
    *dtype = chance(0.2) ? pick(all) : is_floating(*dtype) ? real_ : *dtype;
  } else if (auto* shape = std::get_if<Shape>(&value)) {
    for (int i = 0; i < shape->size(); ++i) {
      int64_t entry = (*shape)[i];
      vary_integer(entry, field, i, s, dims);
      (*shape)[i] = entry;
    }
  } else if (auto* maybe = std::get_if<std::optional<int64_t>>(&value)) {
    if (chance(0.1)) *maybe = *maybe ? std::nullopt : std::optional<int64_t>(below(4));
    if (!*maybe && takes_length(field) && chance(0.3)) *maybe = 0;
    if (*maybe) vary_integer(**maybe, field, -1, s, dims);
  } else if (auto* real = std::get_if<std::optional<double>>(&value)) {
    if (*real && chance(0.12)) **real *= 2;
  }
}

std::optional<Expr> Drawer::draw_length() {
  const int id = pick_value([&](int v) {
    for (int a = 0; a < value(v).dim(); ++a)
      if (dim_of(v, a).varies()) return true;
    return chance(0.02) && value(v).dim() > 0;
  });
  if (id < 0) return {};
  int axis = int(below(value(id).dim()));
  for (int t = 0; t < 4 && !dim_of(id, axis).varies(); ++t) axis = int(below(value(id).dim()));
  Expr n = Expr::length(id, axis);
  if (chance(0.1)) n = {.kind = Expr::numel, .of = id};
  auto with = [&](Expr::Kind kind, int64_t number) {
    return Expr::made(kind, n, Expr::integer(number));
  };
  switch (below(12)) {
    case 0: return with(Expr::div, 2);
    case 1: return with(Expr::div, 3);
    case 2: return with(Expr::sub, 1);
    case 3: return with(Expr::sub, 2);
    case 4: return with(Expr::add, 1);
    case 5: return with(Expr::mul, 2);
    case 6: return with(Expr::min, 3 + below(6));
    case 7: return with(Expr::max, 2 + below(6));
    case 8: return Expr::made(Expr::div, with(Expr::add, 1), Expr::integer(2));
    default: return n;
  }
}

Expr Drawer::draw_number(bool floating) {
  if (chance(0.45))
    if (std::optional<Expr> n = draw_length()) {
      if (!floating || chance(0.3)) return *n;
      const Expr one = Expr::constant(1);
      switch (below(4)) {
        case 0: return Expr::made(Expr::ratio, one, *n);
        case 1: return {.kind = Expr::sqrt, .parts = {*n}};
        case 2: return {.kind = Expr::log, .parts = {*n}};
        default: return Expr::made(Expr::ratio, *n, Expr::constant(10));
      }
    }
  constexpr double reals[] = {0.5, 2.0, -1.5, 1.0, 0.0, 3.0, 1e-3, 3141700.0};
  constexpr int64_t integers[] = {0, 1, 2, -1, 3, 7, 3141660};
  if (floating && chance(0.7)) return Expr::constant(pick(reals));
  return Expr::integer(pick(integers));
}

// --- Reads by index ----------------------------------------------------------------------------

std::vector<IndexItem> Drawer::draw_index(int id, bool writes) {
  const Tensor t = value(id);
  std::vector<IndexItem> list;
  bool tensors = false;
  for (int a = 0; a < t.dim(); ++a) {
    IndexItem i;
    const int64_t n = t.size(a);
    const double kind = random_.uniform();
    if (kind < 0.4) {
      i.kind = IndexItem::all;
    } else if (kind < 0.55 && n > 0) {
      i.kind = IndexItem::integer;
      i.start = Expr::integer(below(std::min<int64_t>(n, 3)) - (chance(0.3) ? n : 0));
      if (chance(0.3)) i.start = Expr::integer(-1);
      if (chance(0.2) && dim_of(id, a).varies())
        i.start = Expr::made(Expr::sub, Expr::length(id, a), Expr::integer(1));
    } else if (kind < 0.88) {
      i.kind = IndexItem::range;
      auto bound = [&]() -> std::optional<Expr> {
        if (chance(0.3)) return {};
        if (chance(0.3))
          if (std::optional<Expr> e = draw_length()) return e;
        return Expr::integer(below(6) - (chance(0.35) ? 6 : 0));
      };
      i.start = bound();
      i.stop = bound();
      i.step = chance(0.75) ? 1 : 1 + below(3);
    } else if (!tensors) {
      tensors = true;
      i.kind = IndexItem::tensor;
      Dims dims;
      dims[1001] = dim_of(id, a);
      InputSpec spec = sample::index({3}, 1001);
      if (writes) spec = sample::listed({2}, {0, 1}, i64);
      i.value = add_input(spec, dims);
      if (i.value < 0) i = {};
    }
    list.push_back(i);
  }
  while (!list.empty() && list.back().kind == IndexItem::all) list.pop_back();
  if (list.size() == size_t(t.dim()) && chance(0.1)) list.insert(list.begin(), {IndexItem::none});
  if (list.empty() || chance(0.05)) list.insert(list.begin(), {IndexItem::ellipsis});
  return list;
}

bool Drawer::draw_read() {
  const int id = pick_value([&](int v) { return value(v).dim() > 0; });
  if (id < 0) return false;
  Step s{.kind = Step::read};
  s.in = {{id, {}}};
  s.index = draw_index(id, false);
  s.out = {-1};
  return accept(std::move(s));
}

}  // namespace tandem::five_ways
