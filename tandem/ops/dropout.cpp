#include "tandem/ops/dropout.h"

#include <algorithm>
#include <cmath>

#include "tandem/op/kernel.h"
#include "tandem/ops/random_key.h"
#include "tandem/ops/row_parts.h"

namespace tandem {

TANDEM_OP(Dropout)
namespace {

template <class O>
void check_p(const O& op, double p) {
  check(p >= 0 && p <= 1, op, "p must be between 0 and 1");
}

/// Words below it drop their element.
uint32_t threshold_of(double p) {
  return uint32_t(std::min(std::round(p * 4294967296.0), 4294967295.0));
}
double scale_of(double p) { return p < 1 ? 1 / (1 - p) : 0; }

}  // namespace

Spec Dropout::infer(Specs in) const {
  detail::check_key(*this, in[1]);
  check_p(*this, p);
  check<DTypeError>(is_floating(in[0].dtype), *this, "takes floating tensors, got ", in[0].dtype);
  return in[0];
}

void Dropout::cpu(Inputs in, Outputs out) const {
  const cpu::RandomKey key = detail::read_key(in[1]);
  const Tensor x = detail::as_contiguous(in[0]);
  const uint32_t threshold = threshold_of(p);
  const double scale = scale_of(p);
  const char* data = static_cast<const char*>(x.raw_data());
  const int64_t item = itemsize(x.dtype());
  auto run = [&]<class C>() {
    const detail::GatherFn gather = detail::gather_fn(x.dtype(), dtype_of<C>);
    detail::fill_random<C>(out[0], [&](int64_t i, int64_t n, C* y) {
      const C* from = reinterpret_cast<const C*>(data + i * item);
      if (x.dtype() != dtype_of<C>) {
        gather(data + i * item, 1, y, n);
        from = y;
      }
      cpu::dropout(key, i, n, threshold, C(scale), from, y);
    });
  };
  if (x.dtype() == f64) run.template operator()<double>();
  else run.template operator()<float>();
}

void detail::dropout_part(const Dropout& op, const Tensor& key, DType dtype, int64_t first,
                          int64_t n, const void* x, void* y) {
  const cpu::RandomKey k = read_key(key);
  const uint32_t threshold = threshold_of(op.p);
  const double scale = scale_of(op.p);
  if (dtype == f64)
    cpu::dropout(k, first, n, threshold, scale, static_cast<const double*>(x),
                 static_cast<double*>(y));
  else
    cpu::dropout(k, first, n, threshold, float(scale), static_cast<const float*>(x),
                 static_cast<float*>(y));
}

Tensors Dropout::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(*this, {dy, s.in(1)}), Tensor()};
}

Samples<Dropout> Dropout::samples() {
  const auto key = sample::listed({2}, {42, 3}, i64);
  return {
      .ok = {{{}, {{{3, 5}}, key}},
             {{.p = 0.1}, {sample::strided({40, 30}), key}},
             {{.p = 0}, {{{7}}, key}},
             {{.p = 1}, {{{7}}, key}},
             {{}, {{{}}, key}},
             {{}, {{{0, 3}}, key}}},
      .errors = {{{.p = 1.5}, {{{3}}, key}, "dropout(p=1.5): p must be between 0 and 1"},
                 {{}, {{{3}, i64}, key}, "dropout(p=0.5): takes floating tensors, got i64"},
                 {{}, {{{3}}, {{2}, i32}}, "dropout(p=0.5): a random key is i64[2], got i32[2]"}}};
}

Tensor dropout(const Tensor& x, double p, bool training, Generator& generator) {
  const Dropout op{.p = p};
  check_p(op, p);
  if (!training || p <= 0) return x;
  const detail::Draw draw(generator);
  return apply(op, {x, draw.key()});
}

}  // namespace tandem
