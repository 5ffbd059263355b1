// What programs start from: inputs, parameters, layers.
#include "tandem/tandem.h"
#include "tests/five_ways/machine.h"

namespace tandem::five_ways {
namespace {

uint64_t seed_for(const Program& p, int id, int call) {
  const uint64_t numbers[] = {p.seed, uint64_t(id), uint64_t(call)};
  return testing::fnv(numbers, sizeof numbers);
}

/// The values of `t` in other memory, with elements between them that belong to nobody.
Tensor lay_out(const Tensor& t, Layout layout) {
  if (t.dim() == 0 || layout == Layout::plain) return t;
  if (layout == Layout::transposed) return testing::lay_transposed(t);
  if (layout == Layout::expanded) {
    if (t.shape()[0] == 0) return t;
    return detail::alias(expand(slice(t, 0, 0, 1).clone(), t.shape()));
  }
  const bool stepped = layout == Layout::stepped;
  Shape wide = t.shape();
  for (auto& d : wide) d += 2;
  const int last = t.dim() - 1;
  if (stepped) wide[last] = 2 * wide[last];
  const Tensor memory = full(wide, t.dtype() == boolean ? 1 : 77, t.dtype());
  Tensor part = memory;
  for (int a = 0; a < t.dim(); ++a) {
    const int64_t step = stepped && a == last ? 2 : 1, n = t.shape()[a];
    part = slice(part, a, 1, 1 + n * step, step);
  }
  part.copy_(t);
  // Without its base, as a tensor that came from elsewhere.
  return detail::alias(part);
}

/// Weights that keep values near one; a variance is positive.
void fill_state(const Program& p, int id, std::string_view name, Tensor& t) {
  if (!t.defined() || !is_floating(t.dtype())) return;
  InputSpec spec(t.shape(), t.dtype());
  spec.scale = 0.5;
  if (name.find("var") != name.npos) spec.fill = InputSpec::positive;
  const uint64_t seed = testing::fnv(name.data(), name.size(), seed_for(p, id, 0));
  const Tensor values = testing::make_input(spec, seed);
  const NoGrad off;
  t.copy_(values);
}

}  // namespace

Tensor make_input(const Program& p, const Input& in, int call, const Shape& shape, double below) {
  InputSpec spec(shape, in.dtype);
  spec.fill = in.fill;
  spec.scale = in.fill == InputSpec::index ? below : in.scale;
  spec.shift = in.shift;
  spec.values = in.values;
  const Tensor t = testing::make_input(spec, input_seed(p, in, call));
  if (in.last != 0 && t.numel() > 0) t.reshape({-1})[-1] = in.last;
  return lay_out(t, in.layout);
}

uint64_t input_seed(const Program& p, const Input& in, int call) {
  return seed_for(p, in.id, in.role == Input::fed ? call : 0);
}

double below_of(const Program& p, const Input& in, int call) {
  return in.below >= 0 ? double(p.calls.at(size_t(call)).at(size_t(in.below))) : in.scale;
}

Tensor make_input(const Program& p, const Input& in, int call) {
  return make_input(p, in, call, shape_at(in, p.calls.at(size_t(call))), below_of(p, in, call));
}

State::State(const Program& p) {
  for (const Input& in : p.inputs) add(p, in);
  each_step(p.steps, [&](const Step& s) { add(p, s); });
}

void State::add(const Program& p, const Input& in) {
  if (in.role != Input::parameter) return;
  Tensor t = make_input(p, in, 0);
  if (in.gradient) t.requires_grad_();
  parameters_[in.id] = t;
}

void State::add(const Program& p, const Step& s) {
  if (s.kind != Step::layer) return;
  const int id = s.out.at(0);
  Layer layer = find_callable(s.kind, s.name)->layer->make(Values(s.attributes));
  for (auto& [name, t] : layer.module->state_dict()) {
    Tensor handle = t;
    fill_state(p, id, name, handle);
  }
  for (const auto& [name, value] : s.attributes)
    if (name == "training") layer.module->set_training(std::get<bool>(value));
  layers_[id] = std::move(layer);
}

NamedTensors State::leaves() const {
  NamedTensors all;
  for (const auto& [id, t] : parameters_)
    if (t.requires_grad()) all.emplace_back(cat("v", id), t);
  for (const auto& [id, layer] : layers_)
    for (const auto& [name, t] : layer.module->named_parameters())
      all.emplace_back(cat("layer", id, ".", name), t);
  return all;
}

NamedTensors State::all() const {
  NamedTensors list;
  for (const auto& [id, t] : parameters_) list.emplace_back(cat("v", id), t);
  for (const auto& [id, layer] : layers_)
    for (const auto& [name, t] : layer.module->state_dict())
      list.emplace_back(cat("layer", id, ".", name), t);
  return list;
}

}  // namespace tandem::five_ways
