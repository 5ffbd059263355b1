#include "tandem/graph/fused_code.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/cast.h"

namespace tandem::graph {
namespace {

bool has_lanes(DType d) { return d == f32 || d == boolean; }

/// Whether a number among the operands leaves the record's arithmetic that of f32 lanes.
bool number_fits(const Spec& number, DType result, bool with_f32) {
  if (result == f32) return true;
  return with_f32 ? !(is_floating(number.dtype) && number.dtype != f32 && number.shape.size() > 0)
                  : number.dtype == boolean;
}

int convert(lanes::Program& program, int x, DType from, DType to) {
  if (from == to || to == f32) return x;
  auto number = [&](float v) {
    return append(program, {.code = lanes::Code::constant, .bits = std::bit_cast<uint32_t>(v)});
  };
  const int mask = append(program, {.code = lanes::Code::not_equal, .a = x, .b = number(0.0f)});
  return append(program,
                {.code = lanes::Code::select, .a = mask, .b = number(1.0f), .c = number(0.0f)});
}

}  // namespace

bool write_down(const FusedPoint& p, lanes::Program& program) {
  std::vector<int> values;
  std::vector<DType> dtypes;
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    const bool number = p.inputs[i].shape.numel() == 1;
    if (!number && !has_lanes(p.inputs[i].dtype)) return false;
    values.push_back(append(program, {.code = lanes::Code::input, .bits = uint32_t(i)}));
    dtypes.push_back(p.inputs[i].dtype);
  }
  for (const auto& step : p.program) {
    if (!has_lanes(step.dtype) || step.operands.size() > size_t(detail::max_point_inputs))
      return false;
    int operands[detail::max_point_inputs];
    DType types[detail::max_point_inputs];
    bool with_f32 = false, with_array = false;
    auto is_number = [&](int id) {
      return size_t(id) < p.inputs.size() && p.inputs[size_t(id)].shape.numel() == 1;
    };
    for (int id : step.operands) {
      with_array = with_array || !is_number(id);
      with_f32 = with_f32 || (!is_number(id) && dtypes[size_t(id)] == f32);
    }
    if (!with_array) return false;
    for (size_t i = 0; i < step.operands.size(); ++i) {
      const int id = step.operands[i];
      operands[i] = values[size_t(id)];
      types[i] = dtypes[size_t(id)];
      if (!is_number(id)) continue;
      if (!number_fits(p.inputs[size_t(id)], step.dtype, with_f32)) return false;
      types[i] = f32;
    }
    const std::span<const int> in(operands, step.operands.size());
    const int result = step.info == &op_info<Cast>()
                           ? convert(program, operands[0], types[0], step.dtype)
                           : detail::record_point(program, *step.info, step.op.get(), in,
                                                  {types, step.operands.size()}, step.dtype);
    if (result < 0) return false;
    values.push_back(result);
    dtypes.push_back(step.dtype);
  }
  for (int id : p.outputs) program.results.push_back(values[size_t(id)]);
  return true;
}

std::shared_ptr<const Jit> make_jit(const FusedPoint& p, bool streaming) {
  if (p.shape.numel() == 1) return nullptr;
  lanes::Program program;
  if (!write_down(p, program)) return nullptr;
  std::vector<Jit::Input> in;
  for (const Spec& s : p.inputs) {
    Repeats how;
    const bool number =
        s.shape.numel() == 1 ||
        (!(s.shape == p.shape) && repeats_in(s.shape, p.shape, how) && runs_as_number(s, how));
    in.push_back({number ? f32 : s.dtype, number});
  }
  std::vector<DType> out;
  for (int id : p.outputs) out.push_back(p.program[size_t(id) - p.inputs.size()].dtype);
  return Jit::make(program, in, out, streaming);
}

}  // namespace tandem::graph
