#include "tandem/ops/recurrent.h"

#include <algorithm>

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/partials.h"
#include "tandem/ops/recurrent_kernel.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/tanh.h"

namespace tandem {

TANDEM_OP(Rnn)
TANDEM_OP(RnnGrad)
TANDEM_OP(Lstm)
TANDEM_OP(LstmGrad)
TANDEM_OP(Gru)
TANDEM_OP(GruGrad)

namespace {

/// Where a record's inputs stand: the cell state, when there is one, shifts the weights by one.
struct Places {
  int c0, w_ih, w_hh, b_ih, b_hh, count;
};
constexpr Places places(bool has_c) {
  return has_c ? Places{2, 3, 4, 5, 6, 7} : Places{-1, 2, 3, 4, 5, 6};
}

/// What a record's shape rule needs to know.
struct Lengths {
  Length steps, batch, hidden;
};

template <class O>
Lengths check_inputs(const O& op, Specs in, int64_t gates, const Places& at) {
  const Shape& x = in[0].shape;
  check<ShapeError>(x.size() == 3, op, "x has shape ", x, ", needs [steps, batch, input]");
  check<DTypeError>(is_floating(in[0].dtype), op, "needs a floating dtype, got ", in[0].dtype);
  const Shape& h = in[1].shape;
  check<ShapeError>(h.size() == 2 && detail::may_equal(h[0], x[1]), op, "h0 has shape ", h,
                    ", needs [", x[1], ", hidden] for x of shape ", x);
  const Length hidden = h[1], width = gates * hidden;
  auto need = [&](int i, std::string_view what, const Shape& shape) {
    if (i < 0 || !in.has(i)) return;
    check<ShapeError>(detail::may_equal(in[i].shape, shape), op, what, " has shape ", in[i].shape,
                      ", needs ", shape);
    check<DTypeError>(in[i].dtype == in[0].dtype, op, what, " is ", in[i].dtype, ", x is ",
                      in[0].dtype);
  };
  need(1, "h0", {x[1], hidden});
  need(at.c0, "c0", {x[1], hidden});
  need(at.w_ih, "w_ih", {width, x[2]});
  need(at.w_hh, "w_hh", {width, hidden});
  need(at.b_ih, "b_ih", {width});
  need(at.b_hh, "b_hh", {width});
  return {x[0], x[1], hidden};
}

/// What a gradient needs besides: the results of the forward pass, of these last sizes, and the
/// gradients of its first ones.
template <class O>
void check_gradient_inputs(const O& op, Specs in, const Lengths& s, const Places& at,
                           std::initializer_list<Length> widths, int states) {
  int i = at.count;
  auto need = [&](const Shape& shape) {
    check<ShapeError>(
        in.has(i) && detail::may_equal(in[i].shape, shape), op, "input ", i, " is ",
        [&] { return in.has(i) ? to_string(in[i]) : std::string("missing"); }, ", needs shape ",
        shape);
    check<DTypeError>(in[i].dtype == in[0].dtype, op, "input ", i, " is ", in[i].dtype, ", x is ",
                      in[0].dtype);
    ++i;
  };
  for (Length width : widths) need({s.steps, s.batch, width});
  need({s.steps, s.batch, s.hidden});
  for (int k = 0; k < states; ++k) need({s.batch, s.hidden});
}

/// Row-major operands of the compute type.
template <class T>
class Operands {
 public:
  explicit Operands(Inputs in) {
    for (const Tensor& t : in)
      held_.push_back(t.defined() ? detail::as_contiguous(t, dtype_of<T>) : Tensor());
  }
  const T* operator[](int i) const {
    if (i < 0 || i >= int(held_.size()) || !held_[size_t(i)].defined()) return nullptr;
    return held_[size_t(i)].template data<T>();
  }

 private:
  SmallVector<Tensor, 16> held_;
};

/// Results of the compute type, copied into the outputs at the end where those are f16 or bf16.
template <class T>
class Results {
 public:
  explicit Results(Outputs out) : out_(out) {
    for (Tensor& t : out)
      held_.push_back(t.dtype() == dtype_of<T> ? t : empty(t.shape(), dtype_of<T>));
  }
  T* operator[](int i) { return i < 0 ? nullptr : held_[size_t(i)].template data<T>(); }
  void finish() {
    for (size_t i = 0; i < out_.size(); ++i)
      if (!held_[i].is_same(out_[i])) detail::copy_data(out_[i], held_[i]);
  }

 private:
  Outputs out_;
  SmallVector<Tensor, 8> held_;
};

template <template <class> class Cell, class T>
void run_forward(const detail::RecurrentSize& s, bool reverse, Inputs in, Outputs out) {
  constexpr bool has_c = Cell<T>::has_c;
  constexpr Places at = places(has_c);
  const Operands<T> a(in);
  Results<T> r(out);
  T *y = r[0], *keep = r[has_c ? 3 : 2], *cells = has_c ? r[4] : nullptr;
  detail::recurrent_forward<Cell<T>, T>(s, reverse, a[0], a[1], a[at.c0], a[at.w_ih], a[at.w_hh],
                                        a[at.b_ih], a[at.b_hh], y, keep, cells);
  const int64_t nh = s.batch * s.hidden, last = reverse ? 0 : (s.steps - 1) * nh;
  std::copy_n(s.steps ? y + last : a[1], nh, r[1]);
  if (has_c) std::copy_n(s.steps ? cells + last : a[at.c0], nh, r[2]);
  r.finish();
}

template <template <class> class Cell, class T>
void run_backward(const detail::RecurrentSize& s, bool reverse, Inputs in, Outputs out) {
  constexpr bool has_c = Cell<T>::has_c;
  constexpr Places at = places(has_c);
  const Operands<T> a(in);
  Results<T> r(out);
  const int more = at.count;
  const T* cells = has_c ? a[more + 2] : nullptr;
  const T* dy = a[has_c ? more + 3 : more + 2];
  const T* dh = a[has_c ? more + 4 : more + 3];
  const T* dc = has_c ? a[more + 5] : nullptr;
  detail::recurrent_backward<Cell<T>, T>(s, reverse, a[0], a[1], a[at.c0], a[at.w_ih], a[at.w_hh],
                                         a[more], a[more + 1], cells, dy, dh, dc,
                                         {r[0], r[1], r[at.c0], r[at.w_ih], r[at.w_hh],
                                          in[size_t(at.b_ih)].defined() ? r[at.b_ih] : nullptr,
                                          in[size_t(at.b_hh)].defined() ? r[at.b_hh] : nullptr});
  r.finish();
}

detail::RecurrentSize size_of(Inputs in) {
  return {in[0].size(0), in[0].size(1), in[0].size(2), in[1].size(1)};
}

template <template <class> class Cell>
void forward(bool reverse, Inputs in, Outputs out) {
  if (in[0].dtype() == f64) run_forward<Cell, double>(size_of(in), reverse, in, out);
  else run_forward<Cell, float>(size_of(in), reverse, in, out);
}
template <template <class> class Cell>
void backward(bool reverse, Inputs in, Outputs out) {
  if (in[0].dtype() == f64) run_backward<Cell, double>(size_of(in), reverse, in, out);
  else run_backward<Cell, float>(size_of(in), reverse, in, out);
}

/// The gradient of an input that was left out is an empty tensor.
Spec gradient_spec(Specs in, int i) {
  return in.has(i) ? in[i] : Spec{{0}, in[0].dtype, in[0].device};
}

void check_nonlinearity(const auto& op) {
  check(op.nonlinearity == "tanh" || op.nonlinearity == "relu", op, "nonlinearity is \"",
        op.nonlinearity, "\", needs \"tanh\" or \"relu\"");
}

// The same layers step by step in public ops: what the gradients' own gradients are made of.

Tensor cell_step(const Rnn& op, const Tensor& gx, const Tensor& gh, Tensor& h, Tensor&) {
  const Tensor v = gx + gh;
  return h = op.nonlinearity == "tanh" ? tanh(v) : relu(v);
}
Tensor cell_step(const Lstm&, const Tensor& gx, const Tensor& gh, Tensor& h, Tensor& c) {
  const Tensors g = chunk(gx + gh, 4, 1);
  c = sigmoid(g[1]) * c + sigmoid(g[0]) * tanh(g[2]);
  return h = sigmoid(g[3]) * tanh(c);
}
Tensor cell_step(const Gru&, const Tensor& gx, const Tensor& gh, Tensor& h, Tensor&) {
  const Tensors a = chunk(gx, 3, 1), b = chunk(gh, 3, 1);
  const Tensor r = sigmoid(a[0] + b[0]), z = sigmoid(a[1] + b[1]), n = tanh(a[2] + r * b[2]);
  return h = n + z * (h - n);
}

/// y, h (and c) of the forward record.
template <class O>
Tensors unrolled(const O& op, const Tensors& in, bool has_c) {
  const Places at = places(has_c);
  Tensor h = in[1], c = has_c ? in[2] : Tensor();
  const int64_t steps = in[0].size(0);
  std::vector<Tensor> y(static_cast<size_t>(steps));
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t t = op.reverse ? steps - 1 - step : step;
    const Tensor gx = linear(select(in[0], 0, t), in[size_t(at.w_ih)], in[size_t(at.b_ih)]);
    const Tensor gh = linear(h, in[size_t(at.w_hh)], in[size_t(at.b_hh)]);
    y[size_t(t)] = cell_step(op, gx, gh, h, c);
  }
  const Tensor all = steps ? stack(y) : zeros({0, h.size(0), h.size(1)}, h.dtype(), h.device());
  return has_c ? Tensors{all, h, c} : Tensors{all, h};
}

/// What the forward records give for dy: the gradient record on everything it needs.
template <class G>
Tensors gradients_of(const G& grad, const Saved& s, const Tensors& dy, const Places& at,
                     std::initializer_list<Tensor> kept, int states) {
  Tensors in;
  for (int i = 0; i < at.count; ++i) in.push_back(i < s.size() ? s.in(i) : Tensor());
  for (const Tensor& t : kept) in.push_back(t);
  for (int i = 0; i <= states; ++i) in.push_back(dy[size_t(i)]);
  Tensors dx = apply_all(grad, Inputs(in));
  for (int i = 0; i < at.count; ++i)
    if (!in[size_t(i)].defined()) dx[size_t(i)] = Tensor();
  return dx;
}

/// The gradient of a gradient record: nothing flows to what the forward pass kept.
template <class O>
Tensors second(const O& op, const Saved& s, const Tensors& g, bool has_c, int kept) {
  const Places at = places(has_c);
  Tensors in, dy;
  for (int i = 0; i < at.count; ++i) in.push_back(s.in(i));
  for (int i = 0; i < (has_c ? 3 : 2); ++i) dy.push_back(s.in(at.count + kept + i));
  Tensors seeds;
  for (int i = 0; i < at.count; ++i)
    seeds.push_back(in[size_t(i)].defined() ? g[size_t(i)] : Tensor());
  const Tensors found = detail::vjp_of_gradient(
      in, dy, seeds, [&](const Tensors& x) { return unrolled(op, x, has_c); });
  Tensors out(found.begin(), found.begin() + at.count);
  for (int i = 0; i < kept; ++i) out.emplace_back();
  for (size_t i = size_t(at.count); i < found.size(); ++i) out.push_back(found[i]);
  return out;
}

}  // namespace

std::array<Spec, 3> Rnn::infer(Specs in) const {
  check_nonlinearity(*this);
  const auto s = check_inputs(*this, in, 1, places(false));
  const Spec y{{s.steps, s.batch, s.hidden}, in[0].dtype, in[0].device};
  return {y, in[1], y};
}

void Rnn::cpu(Inputs in, Outputs out) const {
  if (nonlinearity == "tanh") forward<detail::TanhCell>(reverse, in, out);
  else forward<detail::ReluCell>(reverse, in, out);
}

Tensors Rnn::vjp(const Saved& s, const Tensors& dy) const {
  return gradients_of(RnnGrad{nonlinearity, reverse}, s, dy, places(false),
                      {s.out(0).detach(), s.out(2).detach()}, 1);
}

std::array<Spec, 6> RnnGrad::infer(Specs in) const {
  check_nonlinearity(*this);
  const auto s = check_inputs(*this, in, 1, places(false));
  check_gradient_inputs(*this, in, s, places(false), {s.hidden, s.hidden}, 1);
  std::array<Spec, 6> out;
  for (int i = 0; i < 6; ++i) out[size_t(i)] = gradient_spec(in, i);
  return out;
}

void RnnGrad::cpu(Inputs in, Outputs out) const {
  if (nonlinearity == "tanh") backward<detail::TanhCell>(reverse, in, out);
  else backward<detail::ReluCell>(reverse, in, out);
}

Tensors RnnGrad::vjp(const Saved& s, const Tensors& g) const {
  return second(Rnn{nonlinearity, reverse}, s, g, false, 2);
}

std::array<Spec, 5> Lstm::infer(Specs in) const {
  const auto s = check_inputs(*this, in, 4, places(true));
  const Spec y{{s.steps, s.batch, s.hidden}, in[0].dtype, in[0].device};
  return {y, in[1], in[2], {{s.steps, s.batch, 4 * s.hidden}, y.dtype, y.device}, y};
}

void Lstm::cpu(Inputs in, Outputs out) const { forward<detail::LstmCell>(reverse, in, out); }

Tensors Lstm::vjp(const Saved& s, const Tensors& dy) const {
  return gradients_of(LstmGrad{reverse}, s, dy, places(true),
                      {s.out(0).detach(), s.out(3).detach(), s.out(4).detach()}, 2);
}

std::array<Spec, 7> LstmGrad::infer(Specs in) const {
  const auto s = check_inputs(*this, in, 4, places(true));
  check_gradient_inputs(*this, in, s, places(true), {s.hidden, 4 * s.hidden, s.hidden}, 2);
  std::array<Spec, 7> out;
  for (int i = 0; i < 7; ++i) out[size_t(i)] = gradient_spec(in, i);
  return out;
}

void LstmGrad::cpu(Inputs in, Outputs out) const { backward<detail::LstmCell>(reverse, in, out); }

Tensors LstmGrad::vjp(const Saved& s, const Tensors& g) const {
  return second(Lstm{reverse}, s, g, true, 3);
}

std::array<Spec, 3> Gru::infer(Specs in) const {
  const auto s = check_inputs(*this, in, 3, places(false));
  const Spec y{{s.steps, s.batch, s.hidden}, in[0].dtype, in[0].device};
  return {y, in[1], {{s.steps, s.batch, 4 * s.hidden}, y.dtype, y.device}};
}

void Gru::cpu(Inputs in, Outputs out) const { forward<detail::GruCell>(reverse, in, out); }

Tensors Gru::vjp(const Saved& s, const Tensors& dy) const {
  return gradients_of(GruGrad{reverse}, s, dy, places(false),
                      {s.out(0).detach(), s.out(2).detach()}, 1);
}

std::array<Spec, 6> GruGrad::infer(Specs in) const {
  const auto s = check_inputs(*this, in, 3, places(false));
  check_gradient_inputs(*this, in, s, places(false), {s.hidden, 4 * s.hidden}, 1);
  std::array<Spec, 6> out;
  for (int i = 0; i < 6; ++i) out[size_t(i)] = gradient_spec(in, i);
  return out;
}

void GruGrad::cpu(Inputs in, Outputs out) const { backward<detail::GruCell>(reverse, in, out); }

Tensors GruGrad::vjp(const Saved& s, const Tensors& g) const {
  return second(Gru{reverse}, s, g, false, 2);
}

}  // namespace tandem
