#include "tandem/ops/index.h"

#include <algorithm>

#include "tandem/core/factory.h"
#include "tandem/core/modes.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/div.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/masked_fill.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/where.h"

namespace tandem {
namespace {

/// How many axes of the tensor an index uses up.
int axes_of(const Index& i) {
  switch (i.kind()) {
    case Index::Kind::integer:
    case Index::Kind::range: return 1;
    case Index::Kind::tensor: return i.tensor().dtype() == boolean ? i.tensor().dim() : 1;
    default: return 0;
  }
}

/// An index tensor without axes stands for an integer.
bool is_integer(const Tensor& t) { return t.dim() == 0 && (t.dtype() == i64 || t.dtype() == i32); }

/// The axes `from` .. `from + n` moved to `to`.
Tensor with_axes_moved(const Tensor& t, int n, int from, int to) {
  Shape order;
  for (int i = 0; i < t.dim(); ++i)
    if (i < from || i >= from + n) order.push_back(i);
  for (int i = 0; i < n; ++i) order.insert(to + i, from + i);
  return permute(t, order);
}

/// An assigned value may have extra axes of length one in front.
Tensor without_leading_ones(Tensor value, int dim) {
  while (value.dim() > dim && detail::must_equal(value.shape()[0], 1)) value = squeeze(value, 0);
  return value;
}

}  // namespace

Indexed::Indexed(const Tensor& x, std::span<const Index> list) : view_(x) {
  int used = 0, ellipses = 0;
  for (const Index& i : list) {
    used += axes_of(i);
    ellipses += i.kind() == Index::Kind::ellipsis;
  }
  require<IndexError>(used <= x.dim(), "index: ", used, " indices for the ", x.dim(),
                      " axes of shape ", x.shape());
  require<IndexError>(ellipses <= 1, "index: only one ellipsis can be given");

  // A mask is one entry of places_, however many axes it covers.
  auto pick = [&](const Tensor& t, int entry) {
    while (int(places_.size()) < entry) places_.push_back(Tensor());
    places_.push_back(t);
    picked_ = true;
  };
  int axis = 0, ahead = 0;  // of view_; axes that masks cover beyond their first
  for (const Index& i : list) {
    const int entry = axis - ahead;
    switch (i.kind()) {
      case Index::Kind::integer: view_ = tandem::select(view_, axis, i.integer()); break;
      case Index::Kind::range:
        if (i.range().start || i.range().stop || i.range().step != 1)
          view_ = tandem::slice(view_, axis, i.range().start, i.range().stop, i.range().step);
        ++axis;
        break;
      case Index::Kind::new_axis: view_ = tandem::unsqueeze(view_, axis++); break;
      case Index::Kind::ellipsis: axis += x.dim() - used; break;
      case Index::Kind::boolean:
        view_ = tandem::unsqueeze(view_, axis++);
        pick(full({1}, i.integer() != 0, boolean), entry);
        break;
      case Index::Kind::tensor: {
        const Tensor& t = i.tensor();
        if (t.dtype() == boolean && t.dim() == 0) {
          view_ = tandem::unsqueeze(view_, axis++);
          pick(tandem::reshape(t, {1}), entry);
        } else if (is_integer(t) && !(detail::modes & Modes::capture) && !t.is_symbolic() &&
                   !view_.is_symbolic()) {
          view_ = tandem::select(view_, axis, t.item<int64_t>());
        } else {
          const int covers = axes_of(i);
          pick(t, entry);
          axis += covers;
          ahead += covers - 1;
        }
        break;
      }
    }
  }
  if (picked_) versions_ = versions();
}

/// How often the tensor and what picks its elements were written; they only grow.
uint64_t Indexed::versions() const {
  auto of = [](const Tensor& t) -> uint64_t {
    if (!t.defined()) return 0;
    return t.is_symbolic() ? uint64_t(t.impl()->extras->value) + 1 : t.version();
  };
  uint64_t sum = of(view_);
  for (const Tensor& t : places_) sum += of(t);
  return sum;
}

/// Integers are taken first, as in PyTorch: index tensors that only they keep apart are neighbours,
/// whose axes stay where they were. index() has them in front: how many, and where they belong.
std::pair<int, int> Indexed::moved() const {
  int whole = 0, first = -1, last = -1, first_picked = -1, last_picked = -1, axes = 0;
  for (const Tensor& t : places_) {
    if (!t.defined()) {
      ++whole;
      continue;
    }
    if (first < 0) first = whole;
    last = whole;
    if (is_integer(t)) continue;
    if (first_picked < 0) first_picked = whole;
    last_picked = whole;
    axes = std::max(axes, t.dtype() == boolean ? 1 : t.dim());
  }
  const bool differs = first_picked > 0 && first_picked == last_picked && first != last;
  return differs ? std::pair(axes, first_picked) : std::pair(0, 0);
}

Tensor Indexed::picked() const {
  if (!picked_) return view_;
  require<IndexError>(versions() == versions_,
                      "index: the tensor or the index was written after the part was named; "
                      "name it as Tensor y = x[index], which reads it at once");
  const Tensor y = tandem::index(view_, Inputs(places_.data(), places_.size()));
  const auto [axes, to] = moved();
  return axes ? with_axes_moved(y, axes, 0, to) : y;
}

/// From here on it is the tensor that was read.
void Indexed::read() const {
  view_ = picked();
  places_.clear();
  picked_ = false;
  of_copy_ = true;
}

Indexed Indexed::part(std::span<const Index> list) const {
  const bool copy = picked_ || of_copy_;
  Indexed p(tensor(), list);
  p.of_copy_ = copy;
  return p;
}

Indexed& Indexed::operator=(const Tensor& value) & {
  view_ = value;
  places_.clear();
  picked_ = false;
  of_copy_ = true;
  return *this;
}

Indexed& Indexed::requires_grad_(bool on) {
  tensor();
  view_.requires_grad_(on);
  return *this;
}

void Indexed::check_written() const {
  require<IndexError>(!of_copy_,
                      "index: a write to a part of what an index tensor or a mask picked "
                      "is lost; give all indices at once, x(rows, 0) = 1");
}

/// The number of the only place, when that is a mask; -1 otherwise.
int Indexed::mask_place() const {
  int only = -1;
  for (size_t k = 0; k < places_.size(); ++k) {
    if (!places_[k].defined()) continue;
    if (only >= 0 || places_[k].dtype() != boolean) return -1;
    only = int(k);
  }
  return only;
}

/// The mask so that it broadcasts against view_.
Tensor Indexed::wide_mask(int place) const {
  const Tensor& mask = places_[size_t(place)];
  Shape wide = mask.shape();
  for (int i = 0; i < wide.size(); ++i)
    require<IndexError>(detail::may_equal(wide[i], view_.shape()[place + i]),
                        "index: a mask of shape ", mask.shape(), " does not fit axes from ", place,
                        " on of shape ", view_.shape());
  while (place + wide.size() < view_.dim()) wide.push_back(1);
  return tandem::reshape(mask, wide);
}

/// One mask and one value: no need to look where the mask holds.
bool Indexed::fill_masked(const Tensor& value) {
  const int place = detail::must_equal(value.numel(), 1) ? mask_place() : -1;
  if (place < 0) return false;
  const Tensor one = value.dim() == 0 ? value : tandem::reshape(value, {});
  const Tensor same = cast(detail::number_as("index", one, view_.dtype()), view_.dtype());
  apply_inplace(MaskedFill{}, {view_, wide_mask(place), same});
  return true;
}

/// The mask of a write that can be recorded although nobody knows how many elements it picks: the
/// value has at most the axes behind the mask, but for leading ones. Undefined for other writes.
Tensor Indexed::recorded_mask(const Tensor& value) const {
  const int place = mask_place();
  if (place < 0) return {};
  const Tensor& mask = places_[size_t(place)];
  if (!(detail::modes & Modes::capture) && !mask.is_symbolic() && !view_.is_symbolic()) return {};
  const int in_front = value.dim() - (view_.dim() - place - mask.dim());
  bool fits = in_front <= place + mask.dim();
  for (int i = 0; fits && i < in_front; ++i) fits = detail::must_equal(value.shape()[i], 1);
  return fits ? wide_mask(place) : Tensor();
}

/// The same where the value is what this very mask picks of a tensor of the same shape.
Tensor Indexed::recorded_mask(const Indexed& value) const {
  const int place = mask_place();
  if (place < 0 || value.mask_place() != place || !(value.view_.shape() == view_.shape()) ||
      !value.places_[size_t(place)].is_same(places_[size_t(place)]))
    return {};
  return recorded_mask(Tensor(0));
}

Indexed& Indexed::write_masked(const Tensor& mask, const Tensor& value) {
  view_.copy_(tandem::where(mask, cast(value, view_.dtype()), view_));
  return *this;
}

/// The elements that the mask does not pick are not computed with, so that none of them can spoil a
/// gradient.
Indexed& Indexed::update_masked(const Tensor& mask, const Tensor& value, Binary f) {
  const bool number = value.impl()->has(TensorImpl::wrapped_number);
  auto one = [](DType d) { return d == boolean ? Tensor(true) : Tensor(1); };
  const Tensor result = f(tandem::where(mask, view_, one(view_.dtype())),
                          number ? value : tandem::where(mask, value, one(value.dtype())));
  check_dtype(result);
  return write_masked(mask, result);
}

Indexed& Indexed::update(const Tensor& value, Binary f) {
  check_written();
  if (const Tensor mask = recorded_mask(value); mask.defined())
    return update_masked(mask, value, f);
  const Tensor result = f(picked(), value);
  check_dtype(result);
  return write(result);
}

void Indexed::check_dtype(const Tensor& result) const {
  const DType from = result.dtype(), to = view_.dtype();
  require<DTypeError>(
      !(is_floating(from) && !is_floating(to)) && !(from != boolean && to == boolean),
      "index: the result of type ", from, " cannot be written over ", to);
}

Indexed& Indexed::operator=(const Tensor& value) && {
  check_written();
  return write(value);
}

Indexed& Indexed::write(const Tensor& value) {
  if (!picked_) {
    std::move(view_) = value;
    return *this;
  }
  if (fill_masked(value)) return *this;
  if (const Tensor mask = recorded_mask(value); mask.defined()) return write_masked(mask, value);
  // The picked part has as many axes as what it replaces leaves, and those of the index tensors.
  int dim = view_.dim(), most = 0;
  for (const Tensor& t : places_) {
    if (!t.defined()) continue;
    dim -= t.dtype() == boolean ? t.dim() : 1;
    most = std::max(most, t.dtype() == boolean ? 1 : t.dim());
  }
  const Tensor same = cast(detail::number_as("index", value, view_.dtype()), view_.dtype());
  Tensor v = without_leading_ones(same, dim + most);
  if (const auto [axes, from] = moved(); axes && v.dim() > 0) {
    while (v.dim() < dim + most) v = tandem::unsqueeze(v, 0);
    v = with_axes_moved(v, axes, from, 0);
  }
  tandem::index_put_(view_, Inputs(places_.data(), places_.size()), v);
  return *this;
}

Indexed& Indexed::operator=(const Indexed& value) && {
  check_written();
  if (const Tensor mask = recorded_mask(value); mask.defined())
    return write_masked(mask, value.view_);
  return write(value.tensor());
}

namespace {
Tensor quotient(const Tensor& x, const Tensor& y) { return x / y; }
}  // namespace

Indexed& Indexed::operator+=(const Tensor& value) && {
  if (picked_) return update(value, tandem::add);
  check_written();
  view_ += value;
  return *this;
}
Indexed& Indexed::operator-=(const Tensor& value) && {
  if (picked_) return update(value, tandem::sub);
  check_written();
  view_ -= value;
  return *this;
}
Indexed& Indexed::operator*=(const Tensor& value) && {
  if (picked_) return update(value, tandem::mul);
  check_written();
  view_ *= value;
  return *this;
}
Indexed& Indexed::operator/=(const Tensor& value) && {
  if (picked_) return update(value, quotient);
  check_written();
  view_ /= value;
  return *this;
}
Indexed& Indexed::operator+=(const Indexed& value) && {
  const Tensor mask = recorded_mask(value);
  if (!mask.defined()) return std::move(*this) += value.tensor();
  check_written();
  return update_masked(mask, value.view_, tandem::add);
}
Indexed& Indexed::operator-=(const Indexed& value) && {
  const Tensor mask = recorded_mask(value);
  if (!mask.defined()) return std::move(*this) -= value.tensor();
  check_written();
  return update_masked(mask, value.view_, tandem::sub);
}
Indexed& Indexed::operator*=(const Indexed& value) && {
  const Tensor mask = recorded_mask(value);
  if (!mask.defined()) return std::move(*this) *= value.tensor();
  check_written();
  return update_masked(mask, value.view_, tandem::mul);
}
Indexed& Indexed::operator/=(const Indexed& value) && {
  const Tensor mask = recorded_mask(value);
  if (!mask.defined()) return std::move(*this) /= value.tensor();
  check_written();
  return update_masked(mask, value.view_, quotient);
}

Indexed Tensor::operator[](const Index& index) const { return Indexed(*this, {&index, 1}); }

Tensor& Tensor::operator=(const Tensor& value) && {
  const Tensor same = detail::number_as("index", value, dtype(), true);
  return copy_(without_leading_ones(same, dim()));
}

Tensor detail::view_of(const Tensor& x, std::span<const Index> list) {
  return Indexed(x, list).tensor();
}

}  // namespace tandem
