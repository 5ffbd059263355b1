// ONNX's operators between kinds of elements: casts, and integers or narrow floats that stand for
// real numbers, scale * (x - zero point).
#include <charconv>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_quantized.h"
#include "tandem/ops/add.h"
#include "tandem/ops/bitcast.h"
#include "tandem/ops/bitwise.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/minifloat.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/round.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/where.h"

namespace tandem::detail {

using onnx::ElementType;

namespace {

using I = OnnxImporter;

/// The name that `minifloat` has for narrow floats.
std::string_view format_of(ElementType type) {
  switch (type) {
    case ElementType::float8e4m3fn: return "e4m3fn";
    case ElementType::float8e4m3fnuz: return "e4m3fnuz";
    case ElementType::float8e5m2: return "e5m2";
    case ElementType::float8e5m2fnuz: return "e5m2fnuz";
    case ElementType::float8e8m0: return "e8m0";
    case ElementType::float4e2m1: return "e2m1";
    default: return {};
  }
}

/// The least and the largest of small integers.
struct Range {
  int64_t low, high;
};
std::optional<Range> range_of(ElementType type) {
  switch (type) {
    case ElementType::uint2: return Range{0, 3};
    case ElementType::int2: return Range{-2, 1};
    case ElementType::uint4: return Range{0, 15};
    case ElementType::int4: return Range{-8, 7};
    case ElementType::uint8: return Range{0, 255};
    case ElementType::int8: return Range{-128, 127};
    case ElementType::uint16: return Range{0, 65535};
    case ElementType::int16: return Range{-32768, 32767};
    case ElementType::int32: return Range{INT32_MIN, INT32_MAX};
    default: return {};
  }
}

GraphValue with_element(const Tensor& t, ElementType type) {
  GraphValue v(t);
  if (!onnx::to_dtype(type)) v.element = type;
  return v;
}

/// A tensor as elements that Tandem has no dtype for.
GraphValue narrowed(const Tensor& x, ElementType to, bool saturate, const std::string& rounding) {
  if (const auto format = format_of(to); !format.empty())
    return with_element(cast(minifloat(cast(x, x.dtype() == f64 ? f64 : f32), std::string(format),
                                       saturate, rounding),
                             f32),
                        to);
  // The lowest bits of whole numbers.
  const Range r = *range_of(to);
  const Tensor whole = cast(x, i32);
  const Tensor bits = bitwise_and(whole - r.low, full({}, r.high - r.low, i32));
  return with_element(cast(bits + r.low, *onnx::held_in(to)), to);
}

// --- Texts
// ----------------------------------------------------------------------------------------

template <class T>
std::string number_text(T v) {
  if constexpr (std::is_same_v<T, bool>) {
    return v ? "True" : "False";
  } else if constexpr (std::is_integral_v<T>) {
    return std::to_string(v);
  } else {
    const auto x = [&] {
      if constexpr (std::is_class_v<T>) return float(v);
      else return v;
    }();
    if (std::isnan(x)) return "NaN";
    if (std::isinf(x)) return x < 0 ? "-INF" : "INF";
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, x).ptr;
    return {buffer, end};
  }
}

GraphValue to_texts(I& n) {
  const GraphValue v = n.any_in(0);
  if (v.texts) return v;
  if (v.tensor.defined() && v.tensor.is_symbolic()) n.needs_value(0);
  const Tensor x = contiguous(v.tensor);
  std::vector<std::string> all;
  visit(x.dtype(), [&]<class T>() {
    const T* p = static_cast<const T*>(x.raw_data());
    for (int64_t i = 0; i < x.numel(); ++i) all.push_back(number_text(p[i]));
  });
  return GraphValue::of_texts(std::move(all), x.shape());
}

Tensor from_texts(I& n, const GraphValue::Texts& texts, DType dtype) {
  std::vector<double> reals;
  std::vector<int64_t> wholes;
  for (const std::string& s : texts.values) {
    const char *begin = s.data(), *end = begin + s.size();
    if (is_floating(dtype)) {
      char* stop = nullptr;
      reals.push_back(std::strtod(begin, &stop));
      n.need(stop == end && !s.empty(), "\"", s, "\" is no number");
    } else {
      int64_t v = 0;
      const auto r = std::from_chars(begin, end, v);
      n.need(r.ec == std::errc() && r.ptr == end, "\"", s, "\" is no whole number");
      wholes.push_back(v);
    }
  }
  return is_floating(dtype) ? cast(wrap(std::move(reals), texts.shape), dtype)
                            : cast(wrap(std::move(wholes), texts.shape), dtype);
}

GraphValues cast_to(I& n, ElementType to) {
  if (to == ElementType::string) return {to_texts(n)};
  const GraphValue v = n.any_in(0);
  const auto dtype = onnx::to_dtype(to);
  if (!onnx::held_in(to)) n.unsupported("elements of ", onnx::name(to));
  const std::string way = n.text("round_mode", "up");
  const std::string rounding = to == ElementType::float8e8m0 ? way : "nearest";
  if (v.texts) {
    const Tensor x = from_texts(n, *v.texts, dtype.value_or(f32));
    return {dtype ? GraphValue(x) : narrowed(x, to, n.flag("saturate", true), rounding)};
  }
  n.need(v.kind == GraphValue::Kind::tensor, "input 0 is no tensor");
  if (dtype) return {cast(v.tensor, *dtype)};
  if (v.element == to) return {v};
  return {narrowed(v.tensor, to, n.flag("saturate", true), rounding)};
}

ElementType element_of(I& n, int i) {
  const GraphValue v = n.any_in(i);
  if (v.texts) return ElementType::string;
  n.need(v.kind == GraphValue::Kind::tensor, "input ", i, " is no tensor");
  return v.element ? *v.element : onnx::to_element_type(v.tensor.dtype());
}

GraphValues cast_(I& n) { return cast_to(n, ElementType(n.integer("to", 0))); }
GraphValues cast_like(I& n) { return cast_to(n, element_of(n, 1)); }
Tensors bitcast_(I& n) { return {bitcast(n.in(0), dtype_of(n, n.integer("to", 0)))}; }

// --- Scales and zero points
// -----------------------------------------------------------------------

/// A scale or zero point for each element of x, or fewer that broadcast: one for each stretch of
/// `block` along the axis.
Tensor spread(I& n, const Tensor& t, const Tensor& x, int64_t axis, int64_t block) {
  if (block <= 0) return along_scale(n, t, x, axis);
  const int a = axis_of(n, axis, x.dim());
  Shape want = x.shape();
  want[a] = (want[a] + block - 1) / block;
  n.need(t.shape() == want, "a scale or zero point of shape ", t.shape(), " for blocks of ", block,
         " in shape ", x.shape());
  Shape wide = want;
  wide.insert(a + 1, block);
  Shape all = want;
  all[a] = want[a] * block;
  return slice(reshape(expand(unsqueeze(t, a + 1), wide), all), a, 0, x.size(a));
}

Tensor plain(I& n, int i) {
  const GraphValue v = n.any_in(i);
  n.need(v.kind == GraphValue::Kind::tensor, "input ", i, " is no tensor");
  return v.tensor;
}

Tensors dequantize(I& n) {
  const Tensor x = plain(n, 0), scale = n.in(1);
  n.need(is_floating(scale.dtype()), "a scale of ", scale.dtype());
  const int64_t axis = n.integer("axis", 1), block = n.integer("block_size", 0);
  const int64_t type = n.integer("output_dtype", 0);
  const DType dtype = type ? dtype_of(n, type) : scale.dtype();
  const DType wide = dtype == f64 || scale.dtype() == f64 ? f64 : f32;
  const bool whole = !is_floating(x.dtype());
  Tensor y = cast(x, whole ? i64 : wide);
  if (n.has(2)) y = y - cast(spread(n, plain(n, 2), x, axis, block), y.dtype());
  return {cast(cast(y, wide) * cast(spread(n, scale, x, axis, block), wide), dtype)};
}

GraphValues quantize(I& n) {
  const Tensor x = n.in(0), scale = n.in(1);
  n.need(is_floating(scale.dtype()), "a scale of ", scale.dtype());
  const int64_t axis = n.integer("axis", 1), block = n.integer("block_size", 0);
  const int64_t type = n.integer("output_dtype", 0), precision = n.integer("precision", 0);
  const ElementType to = n.has(2) ? element_of(n, 2)
                         : type   ? ElementType(type)
                                  : ElementType::uint8;
  const DType wide = precision ? dtype_of(n, precision) : scale.dtype();
  Tensor steps = cast(x, wide) / cast(spread(n, scale, x, axis, block), wide);
  const Tensor zero =
      n.has(2) ? cast(spread(n, plain(n, 2), x, axis, block), steps.dtype()) : Tensor();
  if (!format_of(to).empty()) {
    if (zero.defined()) steps = steps + zero;
    return {narrowed(steps, to, n.flag("saturate", true), "nearest")};
  }
  const auto range = range_of(to);
  if (!range) n.unsupported("a result of ", onnx::name(to));
  if (steps.dtype() == f16 || steps.dtype() == bf16) steps = cast(steps, f32);
  return {with_element(stored_steps(steps, zero.defined() ? cast(zero, steps.dtype()) : zero,
                                    double(range->low), double(range->high), *onnx::held_in(to)),
                       to)};
}

/// To u8 by the smallest and largest element, 0 among them.
Tensors dynamic_quantize(I& n) {
  const QuantizedTensor q = quantized_by_range(n.in(0));
  return {q.values, q.scale, q.zero};
}

}  // namespace

Tensor along_scale(I& n, const Tensor& t, const Tensor& x, int64_t axis) {
  if (t.numel() == 1) return reshape(t, {});
  if (axis < 0) axis += x.dim();
  n.need(axis >= 0 && axis < x.dim() && t.dim() == 1 && t.size(0) == x.size(int(axis)),
         "a scale or zero point of shape ", t.shape(), " for axis ", axis, " of shape ", x.shape());
  return reshape(t, along_axis(x.dim() - int(axis), 0, t.size(0)));
}

Tensor stored_steps(const Tensor& steps, const Tensor& zero, double low, double high, DType to) {
  const Tensor rounded = round(steps);
  return cast(clamp(zero.defined() ? rounded + zero : rounded, low, high), to);
}

QuantizedTensor quantized_by_range(const Tensor& x) {
  const Tensor low = clamp(amin(x), {}, 0.0), high = clamp(amax(x), 0.0);
  const Tensor scale = (high - low) / 255.0;
  const Tensor divisor = where(scale == 0.0, full({}, 1, x.dtype()), scale);
  const Tensor zero = round(clamp(-low / divisor, 0.0, 255.0));
  return {stored_steps(x / divisor, zero, 0, 255, u8), scale, cast(zero, u8)};
}

void add_cast_imports(OnnxImports& t) {
  t.insert({{"Cast", cast_},
            {"CastLike", cast_like},
            {"BitCast", bitcast_},
            {"QuantizeLinear", quantize},
            {"DequantizeLinear", dequantize},
            {"DynamicQuantizeLinear", dynamic_quantize},
            {"com.microsoft.QuantizeLinear", quantize},
            {"com.microsoft.DequantizeLinear", dequantize}});
}

}  // namespace tandem::detail
