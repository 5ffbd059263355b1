#pragma once
// Inputs at the edges of what numbers can be, for every record: zeros of both signs, infinities,
// NaN, subnormals, the largest and the kinks. Elementwise records get all combinations, others one
// such element, or nothing else, in one of their inputs.
#include <cmath>
#include <limits>
#include <set>

#include "tandem/op/op.h"
#include "tests/support/inputs.h"

namespace tandem::testing {

/// One call of a record at the edges.
struct SpecialCase {
  int sample = 0;  ///< whose attributes and ordinary values these are
  std::shared_ptr<void> op;
  std::string what;
  Tensors in;

  /// The fixed cotangent of output `k`, and what the gradient of input `i` is multiplied by.
  Tensor cotangent(const OpInfo& info, int k, const Spec& out) const {
    return make_cotangent(info.name, sample, k, out.shape, out.dtype);
  }
  Tensor weight(const OpInfo& info, size_t i) const {
    return make_cotangent(info.name, sample, 500 + int(i), in[i].shape(), in[i].dtype());
  }
};

/// The numbers that `count` inputs of that type are combined of, more for fewer inputs.
inline std::vector<double> edges(DType dtype, int count) {
  if (!is_floating(dtype)) {
    const double low = dtype == u8 ? 0 : dtype == i8 ? -128 : dtype == i32 ? -0x1p31 : -0x1p63;
    // 2^63 - 1 is no double; 2^63 - 2^10 is the largest one that fits.
    const double high = dtype == u8    ? 255
                        : dtype == i8  ? 127
                        : dtype == i32 ? 0x1p31 - 1
                                       : 0x1p63 - 0x1p10;
    return {1, low, high, 3, low + 2048 * (dtype == i64), 2, dtype == u8 ? 254.0 : -1.0, 7, 0};
  }
  const double inf = HUGE_VAL, top = dtype == f64 ? std::numeric_limits<double>::max()
                                                  : double(std::numeric_limits<float>::max());
  const double tiny = dtype == f64 ? 0x1p-1060 : 0x1p-140;
  std::vector<double> v = {0, inf, -inf, NAN, 1, -1, -0.0, 2};
  if (count >= 3) return v;
  for (double x : {tiny, top, -top, 0.5, -2.0, -tiny, 3.0}) v.push_back(x);
  if (count == 2) return v;
  for (double x : {-0.5,  -3.0,   6.0,  10.0,  -10.0, 20.0, 20.5, -30.0, 90.0, -90.0,
                   105.0, -105.0, 1e-5, -1e-5, 1e5,   -1e7, 1e12, 0.25,  3.5,  -2.5})
    v.push_back(x);
  return v;
}

/// All combinations of the edges over the stand-in inputs; empty where those are none.
inline Tensors edge_grid(const OpInfo& info, int number, const Sample& s, DType dtype,
                         bool with_zero = true) {
  int count = 0;
  for (const InputSpec& spec : s.in) count += spec.fill != InputSpec::absent && spec.dtype == f64;
  if (!info.broadcasts || count == 0 || count > 3) return {};
  std::vector<double> list = edges(dtype, count);
  if (!with_zero) list.pop_back();
  const auto base = int64_t(list.size());
  int64_t n = 1, step = 1;
  for (int k = 0; k < count; ++k) n *= base;
  Tensors in;
  for (size_t i = 0; i < s.in.size(); ++i) {
    InputSpec spec = s.in[i];
    spec.transposed = false;
    spec.shape = {n};
    if (spec.fill == InputSpec::absent || spec.dtype != f64) {
      in.push_back(make_input(spec, seed_of(info.name, number, int(i))));
      continue;
    }
    std::vector<double> v;
    for (int64_t j = 0; j < n; ++j) v.push_back(list[size_t(j / step % base)]);
    step *= base;
    in.push_back(from_doubles(v, {n}, dtype));
  }
  return in;
}

/// Whether an input says how an update is made, which no infinity does.
inline bool is_setting(const OpInfo& info, size_t i) {
  return info.name.ends_with("_step") && i < 2;
}

/// The record on its first samples, at the edges. Calls that it refuses are left out.
inline std::vector<SpecialCase> specials_of(const OpInfo& info) {
  SampleSet set;
  info.samples(set);
  std::vector<SpecialCase> all;
  auto add = [&](int number, const Sample& s, std::string what, Tensors in) {
    try {
      detail::apply_all(info, s.op.get(), in.data(), int(in.size()));
    } catch (const Error&) {
      return false;
    }
    all.push_back({number, s.op, std::move(what), std::move(in)});
    return true;
  };
  std::set<std::string> seen;
  for (int number = 0; number < int(set.samples.size()); ++number) {
    const Sample& s = set.samples[size_t(number)];
    bool stand_in = false, empty = false;
    std::string form = info.print(s.op.get());
    for (const InputSpec& spec : s.in) {
      stand_in = stand_in || (spec.fill != InputSpec::absent && spec.dtype == f64);
      empty = empty || (spec.fill != InputSpec::absent && spec.shape.numel() == 0);
      form += spec.fill == InputSpec::absent ? '-' : 'x';
    }
    if (!s.error.empty() || !stand_in || empty) continue;
    if (seen.contains(form) || (!info.broadcasts && seen.size() >= 3)) continue;
    bool done = false;
    for (DType d : {f32, f64, i8, u8, i32, i64}) {
      const Tensors grid = edge_grid(info, number, s, d);
      if (grid.empty()) break;
      const std::string what = cat("edges as ", d);
      // Integers are not divided by zero.
      done = add(number, s, what, grid) ||
             (!is_floating(d) && add(number, s, what, edge_grid(info, number, s, d, false))) ||
             done;
    }
    if (!done) {
      for (size_t i = 0; i < s.in.size(); ++i) {
        if (s.in[i].fill == InputSpec::absent || s.in[i].dtype != f64 || is_setting(info, i))
          continue;
        for (double x : {0.0, HUGE_VAL, -HUGE_VAL, double(NAN), 1e30}) {
          Tensors in = make_inputs(info.name, number, s.in, f32);
          in[i] = detail::as_contiguous(in[i]);
          in[i].data<float>()[in[i].numel() / 2] = float(x);
          done = add(number, s, cat("one ", x, " in input ", i), in) || done;
        }
        for (double x : {0.0, 1.0, -HUGE_VAL}) {
          Tensors in = make_inputs(info.name, number, s.in, f32);
          in[i] = from_doubles(std::vector<double>(size_t(in[i].numel()), x), in[i].shape(), f32);
          done = add(number, s, cat("nothing but ", x, " in input ", i), in) || done;
        }
      }
      for (DType d : {i8, i32, i64}) {
        Tensors in = make_inputs(info.name, number, s.in, d);
        const std::vector<double> list = edges(d, 1);
        for (size_t i = 0; i < s.in.size(); ++i) {
          if (s.in[i].fill == InputSpec::absent || s.in[i].dtype != f64) continue;
          std::vector<double> v;
          for (int64_t j = 0; j < in[i].numel(); ++j) v.push_back(list[size_t(j) % list.size()]);
          in[i] = from_doubles(v, in[i].shape(), d);
        }
        done = add(number, s, cat("edges as ", d), in) || done;
      }
    }
    if (done) seen.insert(form);
  }
  return all;
}

}  // namespace tandem::testing
