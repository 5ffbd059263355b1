#include "tandem/graph/fused_point.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "tandem/backend/cpu/threads.h"
#include "tandem/graph/fused_code.h"
#include "tandem/graph/fused_record.h"
#include "tandem/op/stream.h"
#include "tandem/ops/cast.h"

namespace tandem::graph {
namespace {

constexpr int64_t tile_bytes = 4096;
constexpr int max_buffers = 32;
// Buffers a multiple of 4096 bytes apart would look alike to the store queue.
constexpr int64_t buffer_bytes = tile_bytes + 320;
constexpr int max_slots = FusedPoint::max_inputs + FusedPoint::max_instructions;

bool has_kernels(DType d) { return d == f32 || d == f64 || d == i64 || d == boolean; }

/// What an operand is to the tile loop.
enum class Place : uint8_t {
  whole,   ///< an input of the program's shape
  number,  ///< an input of one element
  repeat,  ///< an input that repeats: filled into a buffer
  result   ///< of an instruction
};

struct Slot {
  Place place = Place::whole;
  DType dtype = f32;
  DType own = f32;  ///< of the input, which a number may differ from once it is spread
  int64_t item = 4;
  int buffer = -1, output = -1;
  bool spread = false;   ///< a number that some kernel reads as a tile
  bool shelled = false;  ///< some record sees it as a tensor
  Repeats repeats;
};

struct Call {
  const OpInfo* info;
  const void* op;
  detail::PointFn fn = nullptr;  ///< the kernel itself, when all operands are tiles of its type
  int n = 0, result = 0;
  std::array<int, detail::max_point_inputs> operands{};
  std::array<bool, detail::max_point_inputs> as_number{};
};

/// A program made ready: places, buffers and kernels chosen once.
struct Ready {
  FusedPoint source;
  std::vector<Slot> slots;
  std::vector<Call> calls;
  int n_in = 0, buffers = 0;
  int64_t tile = 0, numel = 0, grain = 0;
  bool streaming = false, shells = false;
  bool possible = true;
  std::shared_ptr<const Jit> jit;  ///< null: tiles

  explicit Ready(FusedPoint p) : source(std::move(p)) {
    n_in = int(source.inputs.size());
    numel = source.shape.numel();
    make_slots();
    for (size_t k = 0; k < source.program.size(); ++k) make_call(int(k));
    place_buffers();
    int64_t widest = 1;
    for (const Slot& s : slots) {
      widest = std::max(widest, std::max(s.item, itemsize(s.dtype)));
      streaming = streaming || (s.output >= 0 && numel * s.item >= detail::streaming_bytes);
      shells = shells || s.shelled;
    }
    tile = tile_bytes / widest;
    grain = std::max(4 * tile, 2 * detail::point_grain / int64_t(calls.size() + 1));
    if (possible && jit_enabled()) jit = make_jit(source, streaming);
  }

 private:
  void make_slots();
  void make_call(int k);
  void place_buffers();
};

void Ready::make_slots() {
  for (const Spec& in : source.inputs) {
    Slot s;
    s.dtype = s.own = in.dtype;
    if (in.shape.numel() == 1) s.place = Place::number;
    else if (!(in.shape == source.shape)) s.place = Place::repeat;
    if (s.place == Place::repeat) repeats_in(in.shape, source.shape, s.repeats);
    slots.push_back(s);
  }
  for (const auto& step : source.program) {
    Slot s;
    s.place = Place::result;
    s.dtype = s.own = step.dtype;
    slots.push_back(s);
  }
  for (Slot& s : slots) s.item = itemsize(s.own);
  for (size_t i = 0; i < source.outputs.size(); ++i)
    slots[size_t(source.outputs[i])].output = int(i);
}

void Ready::make_call(int k) {
  const auto& step = source.program[size_t(k)];
  Call call{.info = step.info, .op = step.op.get(), .n = int(step.operands.size())};
  call.result = n_in + k;
  // A number among tiles of one floating type promotes nothing: a tile of equal values will do.
  DType common = boolean;
  bool any = false, alike = true;
  for (int id : step.operands) {
    const Slot& s = slots[size_t(id)];
    if (s.place == Place::number) continue;
    alike = alike && (!any || common == s.dtype);
    common = s.dtype;
    any = true;
  }
  alike = alike && (common == f32 || common == f64);
  // But for one of a wider type that has axes as they have, or none as they have none.
  for (int id : step.operands) {
    const Slot& s = slots[size_t(id)];
    if (s.place != Place::number || !is_floating(s.own) || s.own == common) continue;
    const bool weak = source.inputs[size_t(id)].shape.size() == 0 && source.shape.size() > 0;
    alike = alike && (weak || step.dtype == common);
  }
  bool direct = alike && step.info->point && step.dtype == common;
  for (int i = 0; i < call.n; ++i) {
    const int id = step.operands[size_t(i)];
    Slot& s = slots[size_t(id)];
    call.operands[size_t(i)] = id;
    if (s.place != Place::number) continue;
    // One tile a number: an instruction of another type takes the number itself.
    const bool spread = alike && (!s.spread || s.dtype == common);
    call.as_number[size_t(i)] = !spread;
    direct = direct && spread;
    // Kernels take a number of more axes than their tile for a broadcast that is none.
    if (!spread && source.inputs[size_t(id)].shape.size() > 1 && numel > 1) possible = false;
    if (!spread) continue;
    s.spread = true;
    s.dtype = common;
  }
  if (direct) {
    call.fn = common == f32 ? step.info->point->f32 : step.info->point->f64;
  } else {
    slots[size_t(call.result)].shelled = true;
    for (int id : step.operands) slots[size_t(id)].shelled = true;
  }
  calls.push_back(call);
}

/// Buffers go to the next result when their last reader has run.
void Ready::place_buffers() {
  for (Slot& s : slots)
    if (s.place == Place::repeat || s.spread) s.buffer = buffers++;
  std::vector<size_t> last(slots.size(), 0);
  for (size_t k = 0; k < calls.size(); ++k)
    for (int i = 0; i < calls[k].n; ++i) last[size_t(calls[k].operands[size_t(i)])] = k;
  std::vector<int> idle;
  for (size_t k = 0; k < calls.size(); ++k) {
    Slot& y = slots[size_t(calls[k].result)];
    if (idle.empty()) idle.push_back(buffers++);
    y.buffer = idle.back();
    idle.pop_back();
    for (size_t id = size_t(n_in); id <= size_t(calls[k].result); ++id)
      if (last[id] == k) idle.push_back(slots[id].buffer);
  }
}

template <class T>
void fill_as(const Repeats& r, const char* from, int64_t begin, int64_t n, char* to) {
  const T* x = reinterpret_cast<const T*>(from);
  T* y = reinterpret_cast<T*>(to);
  for (int64_t done = 0; done < n;) {
    const int64_t i = begin + done, at = i / r.inner % r.period;
    int64_t run = 0;
    if (r.inner == 1) {
      run = std::min(r.period - at, n - done);
      std::memcpy(y + done, x + at, size_t(run) * sizeof(T));
    } else {
      run = std::min(r.inner - i % r.inner, n - done);
      std::fill_n(y + done, run, x[at]);
    }
    done += run;
  }
}

void fill(const Repeats& r, int64_t item, const char* from, int64_t begin, int64_t n, char* to) {
  if (item == 4) fill_as<uint32_t>(r, from, begin, n, to);
  else if (item == 8) fill_as<uint64_t>(r, from, begin, n, to);
  else fill_as<uint8_t>(r, from, begin, n, to);
}

/// Where a repeating input's elements from `i` on are, and how they were put there.
struct Filled {
  int64_t phase = 0, size = 0;
};
const char* repeated(const Slot& s, Filled& done, const char* x, int64_t i, int64_t m,
                     char* buffer) {
  const Repeats& p = s.repeats;
  const int64_t first = i / p.inner % p.period;
  if (p.inner == 1 && first + m <= p.period) return x + first * s.item;
  const int64_t here = i % p.inner + m <= p.inner ? first * p.inner : i % (p.inner * p.period);
  if (m <= done.size && done.phase == here) return buffer;
  fill(p, s.item, x, i, m, buffer);
  done = {here, m};
  return buffer;
}

/// What records see tiles through: one tensor for each slot that needs it.
class Tiles {
 public:
  explicit Tiles(const Ready& r) {
    if (!r.shells) return;
    const Shape one = r.numel == 1 ? r.source.shape : Shape{1};
    for (size_t i = 0; i < r.slots.size(); ++i)
      if (r.slots[i].shelled) tiles_[i] = shells_.make(i, {one, r.slots[i].dtype, {}});
  }
  TensorImpl* operator[](int slot) const { return tiles_[size_t(slot)]; }
  void resize(int64_t n) {
    for (TensorImpl* t : tiles_) {
      if (!t) continue;
      t->spec.shape = Shape{n};
      shells_.set_shape(t);
    }
  }

 private:
  Shells<max_slots> shells_;
  std::array<TensorImpl*, max_slots> tiles_{};
};

void run_range(const Ready& r, Inputs in, Outputs out, int64_t begin, int64_t end) {
  alignas(64) char buffers[max_buffers][buffer_bytes];
  const void* at[max_slots];
  const char* ahead[FusedPoint::max_inputs];
  Filled filled[FusedPoint::max_inputs];
  Tiles tiles(r);
  // A number looks the same in every tile.
  for (int i = 0; i < r.n_in; ++i) {
    const Slot& s = r.slots[size_t(i)];
    if (s.spread) {
      char* to = buffers[s.buffer];
      detail::gather_fn(s.own, s.dtype)(in[size_t(i)].impl()->data, 0, to,
                                        std::min(r.tile, end - begin));
      at[i] = to;
    }
  }
  int64_t size = r.numel == 1 ? 1 : -1;
  for (int64_t i = begin; i < end; i += r.tile) {
    const int64_t m = std::min(r.tile, end - i);
    int n_ahead = 0;  // what the next tile reads
    for (int k = 0; k < r.n_in; ++k) {
      const Slot& s = r.slots[size_t(k)];
      const char* x = in[size_t(k)].impl()->data;
      if (s.place == Place::whole) {
        at[k] = x + i * s.item;
        ahead[n_ahead++] = x + (i + r.tile) * s.item;
      }
      if (s.place == Place::repeat) at[k] = repeated(s, filled[k], x, i, m, buffers[s.buffer]);
    }
    if (r.shells && size != m) tiles.resize(m);
    size = m;
    for (const Call& call : r.calls) {
      const Slot& y = r.slots[size_t(call.result)];
      char* to = buffers[y.buffer];
      const bool stored = y.output >= 0;
      char* memory = stored ? out[size_t(y.output)].impl()->data + i * y.item : nullptr;
      if (stored && !r.streaming) to = memory;
      at[call.result] = to;
      if (call.fn) {
        const void* ptr[detail::max_point_inputs];
        for (int k = 0; k < call.n; ++k) ptr[k] = at[call.operands[size_t(k)]];
        call.fn(call.op, ptr, to, m);
      } else {
        detail::Borrowed args[detail::max_point_inputs] = {out[0], out[0], out[0], out[0]};
        for (int k = 0; k < call.n; ++k) {
          const int id = call.operands[size_t(k)];
          if (call.as_number[size_t(k)]) {
            args[k].impl = in[size_t(id)].impl();
            continue;
          }
          args[k].impl = tiles[id];
          args[k].impl->data = static_cast<char*>(const_cast<void*>(at[id]));
        }
        detail::Borrowed result = out[0];
        result.impl = tiles[call.result];
        result.impl->data = to;
        call.info->cpu(call.op, {detail::handles(args), size_t(call.n)},
                       {const_cast<Tensor*>(detail::handles(&result)), 1});
      }
      if (stored && r.streaming) detail::stream(memory, to, m * y.item, ahead, n_ahead);
    }
  }
  if (r.streaming) detail::stream_end();
}

/// The same by machine code: whole ranges at once, or tiles when an input repeats.
void run_jit(const Ready& r, Inputs in, Outputs out, int64_t begin, int64_t end) {
  alignas(64) char buffers[max_buffers][buffer_bytes];
  float numbers[FusedPoint::max_inputs][8];
  const char* from[FusedPoint::max_inputs];
  char* to[FusedPoint::max_outputs];
  Filled filled[FusedPoint::max_inputs];
  bool repeats = false, by_run[FusedPoint::max_inputs];
  for (int k = 0; k < r.n_in; ++k) {
    const Slot& s = r.slots[size_t(k)];
    from[k] = nullptr;
    by_run[k] = s.place == Place::repeat && runs_as_number(r.source.inputs[size_t(k)], s.repeats);
    repeats = repeats || (s.place == Place::repeat && !by_run[k]);
    if (s.place == Place::number)
      detail::gather_fn(s.own, f32)(in[size_t(k)].impl()->data, 0,
                                    reinterpret_cast<char*>(numbers[k]), 8);
  }
  for (int64_t i = begin; i < end;) {
    int64_t m = repeats ? std::min(r.tile - i % r.tile, end - i) : end - i;
    for (int k = 0; k < r.n_in; ++k) {
      const Repeats& how = r.slots[size_t(k)].repeats;
      if (by_run[k]) m = std::min(m, how.inner - i % how.inner);
    }
    for (int k = 0; k < r.n_in; ++k) {
      const Slot& s = r.slots[size_t(k)];
      const char* x = in[size_t(k)].impl()->data;
      if (s.place == Place::whole) from[k] = x + i * s.item;
      if (by_run[k])
        std::fill_n(numbers[k], 8,
                    reinterpret_cast<const float*>(x)[i / s.repeats.inner % s.repeats.period]);
      else if (s.place == Place::repeat)
        from[k] = repeated(s, filled[k], x, i, m, buffers[s.buffer]);
    }
    for (size_t k = 0; k < out.size(); ++k)
      to[k] = out[k].impl()->data + i * r.slots[size_t(r.source.outputs[k])].item;
    r.jit->run(from, numbers[0], to, m);
    i += m;
  }
  if (r.streaming) detail::stream_end();
}

void run_part(const Ready& r, Inputs in, Outputs out, int64_t begin, int64_t end) {
  if (r.jit) run_jit(r, in, out, begin, end);
  else run_range(r, in, out, begin, end);
}

// --- The row --------------------------------------------------------------------------------

struct Held {
  std::shared_ptr<const Ready> ready;
};
const Ready& ready_of(const void* op) { return *static_cast<const Held*>(op)->ready; }

void run(const void* op, Inputs in, Outputs out) {
  const Ready& r = ready_of(op);
  Tensors copies;
  in = row_major(in, copies);
  cpu::parallel_for(r.numel, r.grain,
                    [&](int64_t begin, int64_t end) { run_part(r, in, out, begin, end); });
}

/// The specs that the instructions themselves give, so that verify() checks the program too.
void infer(const void* op, Specs in, Spec* out) {
  const FusedPoint& p = ready_of(op).source;
  Tensors values;
  require<ShapeError>(size_t(in.size()) == p.inputs.size(), "fused_point(): ", in.size(),
                      " inputs for a program of ", p.inputs.size());
  for (int i = 0; i < in.size(); ++i) {
    const Spec& want = p.inputs[size_t(i)];
    require<ShapeError>(in[i] == want, "fused_point(): input ", i, " is ", in[i],
                        ", the program is for ", want);
    values.push_back(detail::new_symbolic(in[i]));
    if (in.is_number(i)) values.back().impl()->flags |= TensorImpl::wrapped_number;
  }
  for (const auto& step : p.program) {
    Tensors args;
    for (int id : step.operands) args.push_back(values[size_t(id)]);
    Spec spec;
    step.info->infer(step.op.get(), Specs(args.data(), int(args.size())), &spec);
    require<ShapeError>(
        spec.shape == p.shape && spec.dtype == step.dtype,
        "fused_point(): ", [&] { return step.info->print(step.op.get()); }, " gives ", spec);
    values.push_back(detail::new_symbolic(spec));
  }
  for (size_t i = 0; i < p.outputs.size(); ++i) out[i] = values[size_t(p.outputs[i])].spec();
}

std::string print(const void* op) {
  const FusedPoint& p = ready_of(op).source;
  std::string s = "fused_point(program=";
  for (size_t k = 0; k < p.program.size(); ++k)
    s += (k ? "; " : "") + instruction_text(p.program[k], int(p.inputs.size() + k), 1);
  return s + results_text(p.outputs);
}

uint64_t hash(const void* op) {
  const FusedPoint& p = ready_of(op).source;
  return hash_program(detail::hash_value(p.shape), p);
}

bool equal(const void* a, const void* b) {
  const FusedPoint &x = ready_of(a).source, &y = ready_of(b).source;
  return x.shape == y.shape && x.inputs == y.inputs && equal_programs(x, y);
}

constexpr OpInfo make_row() {
  OpInfo r = fused_record<Held>("fused_point", FusedPoint::max_inputs);
  r.infer = infer;
  r.cpu = run;
  r.print = print;
  r.hash = hash;
  r.equal = equal;
  return r;
}
constinit const auto rows = for_outputs<FusedPoint::max_outputs>(make_row());

}  // namespace

bool repeats_in(const Shape& shape, const Shape& whole, Repeats& how) {
  how = {};
  const int lead = whole.size() - shape.size();
  if (lead < 0) return false;
  // From the right: ones, then equal axes, then ones again.
  int a = shape.size();
  while (a > 0 && shape[a - 1] == 1) how.inner *= whole[lead + --a];
  while (a > 0 && shape[a - 1] == whole[lead + a - 1]) how.period *= shape[--a];
  while (a > 0 && shape[a - 1] == 1) --a;
  return a == 0;
}

bool is_point(const OpInfo& info, Specs in, const Spec& out) {
  // `broadcasts` marks the elementwise records; some of them also reduce, to another shape.
  if (info.outputs != 1 || !(info.broadcasts || &info == &op_info<Cast>())) return false;
  if (in.size() < 1 || in.size() > detail::max_point_inputs) return false;
  if (!has_kernels(out.dtype) || out.device.type != DeviceType::cpu || out.shape.numel() == 0)
    return false;
  Shape all;
  for (int i = 0; i < in.size(); ++i) {
    if (!in.has(i) || !has_kernels(in[i].dtype) || in[i].device.type != DeviceType::cpu)
      return false;
    Shape both;
    if (!broadcast(all, in[i].shape, both)) return false;
    all = both;
  }
  return all == out.shape;
}

const OpInfo& fused_point_info(int outputs) { return rows[size_t(outputs) - 1]; }

bool is_fused_point(const OpInfo& info) {
  return &info >= rows.data() && &info < rows.data() + rows.size();
}

void run_fused_point(const void* op, Inputs in, Outputs out, int64_t begin, int64_t end) {
  run_part(ready_of(op), in, out, begin, end);
}

int place_over(const FusedPoint& p, int input) {
  const Spec& spec = p.inputs[size_t(input)];
  if (!(spec.shape == p.shape) || p.shape.numel() == 1) return -1;
  const int n_in = int(p.inputs.size());
  int last = -1;
  for (size_t k = 0; k < p.program.size(); ++k)
    for (int id : p.program[k].operands)
      if (id == input) last = int(k);
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    const int k = p.outputs[i] - n_in;
    if (k >= last && p.program[size_t(k)].dtype == spec.dtype) return int(i);
  }
  return -1;
}

std::shared_ptr<void> make_fused_point(FusedPoint program) {
  if (program.inputs.size() > FusedPoint::max_inputs || program.inputs.empty() ||
      program.program.size() > FusedPoint::max_instructions ||
      program.outputs.size() > FusedPoint::max_outputs || program.outputs.empty())
    return nullptr;
  auto ready = std::make_shared<Ready>(std::move(program));
  if (!ready->possible || ready->buffers > max_buffers) return nullptr;
  return std::make_shared<Held>(Held{std::move(ready)});
}

std::string_view fused_point_engine(const void* op) {
  const Ready& r = ready_of(op);
  return r.jit ? r.jit->isa() : "tiles";
}

const FusedPoint& fused_point_of(const void* op) { return ready_of(op).source; }

}  // namespace tandem::graph
