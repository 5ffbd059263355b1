#include "tandem/graph/fused_row.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/graph/fused_point.h"
#include "tandem/graph/fused_record.h"
#include "tandem/op/stream.h"
#include "tandem/ops/row_parts.h"

namespace tandem::graph {
namespace {

using Form = FusedRow::Form;

constexpr int max_slots = 64;
constexpr int64_t workspace_bytes = 144 << 10;  // on the stack of a thread
constexpr int64_t block_elements = 4096;  // of a value, when the rows that run together have it
constexpr int64_t grain = 16384;          // elements

/// The axis that counts the rows: those in front of it multiply to them.
int row_axis(const Shape& s, int64_t rows) {
  int64_t n = 1;
  for (int i = 0; i < s.size(); ++i)
    if ((n *= s[i]) == rows) return i;
  return -1;
}

enum class Kind : uint8_t { points, record, dropout, norm_grad };

Kind kind_of(const FusedRow::Instruction& step, const Shape& x) {
  if (step.info == &op_info<Dropout>()) return Kind::dropout;
  if (step.info == &op_info<LayerNormGrad>()) return Kind::norm_grad;
  return row_axes(*step.info, step.op.get(), x) > 0 ? Kind::record : Kind::points;
}

/// A value as the steps see it.
struct Slot {
  Spec spec;
  Form form = Form::rows;
  int64_t row_bytes = 0;
  int axis = -1;  ///< that counts the rows
  int output = -1;
  int64_t at = -1;       ///< in the workspace; -1: in memory
  bool streams = false;  ///< from the workspace to an output
};

struct Step {
  Kind kind = Kind::record;
  const OpInfo* info = nullptr;
  std::shared_ptr<void> op;
  std::vector<int> in, out;  ///< slots
};

/// A program made ready.
struct Ready {
  FusedRow source;
  std::vector<Slot> slots;
  std::vector<Step> steps;
  std::vector<int> first;  ///< result of each instruction
  int n_in = 0;
  int64_t block = 1, parts = 0;
  bool possible = true, streaming = false;
  std::string_view engine;

  explicit Ready(FusedRow p) : source(std::move(p)) {
    n_in = int(source.inputs.size());
    block = std::min(std::max<int64_t>(block_elements / source.length, 2), source.rows);
    make_slots();
    if (possible) make_steps();
    if (possible) place_buffers();
  }

 private:
  void make_slots();
  void make_steps();
  void place_buffers();
  bool add_points(const std::vector<size_t>& all, Form form);
  void add_record(size_t k, Kind kind);
};

void Ready::make_slots() {
  auto add = [&](const FusedRow::Value& v) {
    Slot s;
    s.spec = v.spec;
    s.form = v.form;
    if (v.form == Form::rows || v.form == Form::column) {
      s.row_bytes = itemsize(v.spec.dtype) * (v.form == Form::rows ? source.length : 1);
      s.axis = row_axis(v.spec.shape, source.rows);
      possible = possible && s.axis >= 0;
    }
    slots.push_back(s);
  };
  for (const auto& v : source.inputs) add(v);
  for (const auto& step : source.program) {
    first.push_back(int(slots.size()));
    for (const auto& v : step.results) add(v);
  }
  first.push_back(int(slots.size()));
  possible = possible && slots.size() <= size_t(max_slots);
  for (size_t i = 0; i < source.outputs.size(); ++i) {
    Slot& s = slots[size_t(source.outputs[i])];
    s.output = int(i);
    s.streams = s.form == Form::rows && source.rows * s.row_bytes >= detail::streaming_bytes;
    streaming = streaming || s.streams;
  }
}

/// Elementwise instructions as one step.
bool Ready::add_points(const std::vector<size_t>& all, Form form) {
  FusedPoint p;
  p.shape = form == Form::rows ? Shape{block, source.length} : Shape{block};
  Step step;
  step.kind = Kind::points;
  std::vector<int> number(slots.size(), -1);
  std::vector<bool> own(slots.size(), false);
  for (size_t k : all) own[size_t(first[k])] = true;
  for (size_t k : all)
    for (int id : source.program[k].operands) {
      if (own[size_t(id)] || number[size_t(id)] >= 0) continue;
      const Slot& s = slots[size_t(id)];
      Spec spec = s.spec;
      if (s.form == Form::rows) spec.shape = p.shape;
      if (s.form == Form::column) spec.shape = form == Form::rows ? Shape{block, 1} : Shape{block};
      if (s.form == Form::whole && spec.shape.numel() > 1) spec.shape = {source.length};
      number[size_t(id)] = int(p.inputs.size());
      p.inputs.push_back(spec);
      step.in.push_back(id);
    }
  for (size_t k : all) {
    const auto& from = source.program[k];
    FusedPoint::Instruction to{from.info, from.op, {}, from.results[0].spec.dtype};
    for (int id : from.operands) to.operands.push_back(number[size_t(id)]);
    number[size_t(first[k])] = int(p.inputs.size() + p.program.size());
    p.program.push_back(std::move(to));
  }
  for (size_t k : all) {
    const int id = first[k];
    bool needed = slots[size_t(id)].output >= 0;
    for (size_t j = 0; j < source.program.size() && !needed; ++j)
      for (int operand : source.program[j].operands)
        needed = needed || (operand == id && !own[size_t(first[j])]);
    if (!needed) continue;
    p.outputs.push_back(number[size_t(id)]);
    step.out.push_back(id);
  }
  if (p.outputs.empty() || p.outputs.size() > FusedPoint::max_outputs) return false;
  step.info = &fused_point_info(int(p.outputs.size()));
  step.op = make_fused_point(std::move(p));
  if (!step.op) return false;
  const std::string_view name = fused_point_engine(step.op.get());
  if (engine.empty() || name == "tiles") engine = name;
  steps.push_back(std::move(step));
  return true;
}

void Ready::add_record(size_t k, Kind kind) {
  const auto& from = source.program[k];
  Step step;
  step.kind = kind;
  step.info = from.info;
  step.op = from.op;
  step.in = from.operands;
  for (int id = first[k]; id < first[k + 1]; ++id) step.out.push_back(id);
  if (kind == Kind::norm_grad) {
    possible = possible && parts == 0;
    parts = detail::layer_norm_grad_parts(source.rows, source.length);
  }
  steps.push_back(std::move(step));
}

/// Elementwise instructions run as early as they can, so that many of them are one step.
void Ready::make_steps() {
  const auto& program = source.program;
  std::vector<bool> known(slots.size(), false), done(program.size(), false);
  std::fill(known.begin(), known.begin() + n_in, true);
  auto ready = [&](size_t k, Kind kind) {
    const Shape& x = slots[size_t(program[k].operands[0])].spec.shape;
    if (done[k] || (kind_of(program[k], x) == Kind::points) != (kind == Kind::points)) return false;
    for (int id : program[k].operands)
      if (id >= 0 && !known[size_t(id)]) return false;
    return true;
  };
  size_t left = program.size();
  auto finish = [&](size_t k) {
    done[k] = true;
    --left;
    for (int id = first[k]; id < first[k + 1]; ++id) known[size_t(id)] = true;
  };
  while (left > 0 && possible) {
    const size_t before = left;
    for (Form form : {Form::column, Form::rows}) {
      std::vector<size_t> all;
      for (size_t k = 0; k < program.size(); ++k)
        if (program[k].results[0].form == form && ready(k, Kind::points)) {
          all.push_back(k);
          finish(k);
        }
      if (!all.empty()) possible = possible && add_points(all, form);
    }
    for (size_t k = 0; k < program.size(); ++k)
      if (ready(k, Kind::record)) {
        add_record(k, kind_of(program[k], slots[size_t(program[k].operands[0])].spec.shape));
        finish(k);
        break;
      }
    possible = possible && left < before;
  }
}

/// A buffer goes to a later value when the last step that reads its value has run.
void Ready::place_buffers() {
  std::vector<size_t> last(slots.size(), 0);
  for (size_t k = 0; k < steps.size(); ++k)
    for (int id : steps[k].in)
      if (id >= 0) last[size_t(id)] = k;
  int64_t width = 4;
  for (const Slot& s : slots)
    if (s.row_bytes > 0) width = std::max(width, itemsize(s.spec.dtype));
  // Buffers a multiple of 4096 bytes apart would look alike to the store queue.
  const int64_t bytes = (block * source.length * width + 63) / 64 * 64 + 320;
  std::vector<int64_t> idle;
  int64_t end = 0;
  for (size_t k = 0; k < steps.size(); ++k) {
    for (int id : steps[k].out) {
      Slot& s = slots[size_t(id)];
      if (s.form == Form::sum || (s.output >= 0 && !s.streams)) continue;
      if (idle.empty()) {
        idle.push_back(end);
        end += bytes;
      }
      s.at = idle.back();
      idle.pop_back();
    }
    for (size_t id = size_t(n_in); id < slots.size(); ++id)
      if (slots[id].at >= 0 && last[id] == k) idle.push_back(slots[id].at);
  }
  if (end > workspace_bytes && streaming) {
    streaming = false;
    for (Slot& s : slots) s.streams = false, s.at = -1;
    return place_buffers();
  }
  possible = end <= workspace_bytes;
}

/// What the steps see rows through: a tensor for each slot.
class RowShells {
 public:
  RowShells(const Ready& r, Inputs in) : r_(r) {
    for (size_t i = 0; i < r.slots.size(); ++i) {
      const Slot& s = r.slots[i];
      Spec spec = s.spec;
      for (int k = 0; k < s.axis; ++k) spec.shape[k] = 1;
      TensorImpl* t = shells_.make(i, spec);
      if (int(i) < r.n_in) {
        t->flags = in[i].impl()->flags & TensorImpl::wrapped_number;
        t->flags |= TensorImpl::contiguous;
        t->data = in[i].impl()->data;
      }
    }
  }
  TensorImpl* operator[](int slot) { return shells_[slot]; }
  void resize(int64_t rows) {
    for (size_t i = 0; i < r_.slots.size(); ++i) {
      const int axis = r_.slots[i].axis;
      if (axis < 0) continue;
      TensorImpl* t = shells_[int(i)];
      t->spec.shape[axis] = rows;
      shells_.set_shape(t);
    }
  }

 private:
  const Ready& r_;
  Shells<max_slots> shells_;
};

/// Rows [begin, end) on this thread. `sums`: what the rows add to, where the program sums over
/// them.
void run_rows(const Ready& r, Inputs in, Outputs out, int64_t begin, int64_t end,
              std::array<char*, 2> sums) {
  alignas(64) char workspace[workspace_bytes];
  RowShells shells(r, in);
  int64_t size = -1;
  for (int64_t row = begin; row < end; row += r.block) {
    const int64_t some = std::min(r.block, end - row);
    if (some != size) shells.resize(some);
    size = some;
    for (size_t i = 0; i < r.slots.size(); ++i) {
      const Slot& s = r.slots[i];
      if (!s.row_bytes || (int(i) >= r.n_in && s.at < 0 && s.output < 0)) continue;
      char* base = s.at >= 0         ? workspace + s.at
                   : int(i) < r.n_in ? in[i].impl()->data + row * s.row_bytes
                                     : out[size_t(s.output)].impl()->data + row * s.row_bytes;
      shells[int(i)]->data = base;
    }
    for (const Step& step : r.steps) {
      TensorImpl* args[FusedRow::max_inputs + FusedRow::max_instructions];
      TensorImpl* results[FusedRow::max_outputs];
      for (size_t k = 0; k < step.in.size(); ++k)
        args[k] = step.in[k] < 0 ? nullptr : shells[step.in[k]];
      for (size_t k = 0; k < step.out.size(); ++k) results[k] = shells[step.out[k]];
      const Inputs from(reinterpret_cast<const Tensor*>(args), step.in.size());
      const Outputs to(reinterpret_cast<Tensor*>(results), step.out.size());
      switch (step.kind) {
        case Kind::points: {
          const bool rows = r.slots[size_t(step.out[0])].form == Form::rows;
          run_fused_point(step.op.get(), from, to, 0, some * (rows ? r.source.length : 1));
          break;
        }
        case Kind::record: step.info->cpu(step.op.get(), from, to); break;
        case Kind::dropout:
          detail::dropout_part(*static_cast<const Dropout*>(step.op.get()), from[1],
                               args[0]->spec.dtype, row * r.source.length, some * r.source.length,
                               args[0]->data, results[0]->data);
          break;
        case Kind::norm_grad:
          detail::layer_norm_grad_rows(*static_cast<const LayerNormGrad*>(step.op.get()),
                                       args[0]->spec.dtype, some, args[0]->data, args[1]->data,
                                       step.in.size() > 2 && args[2] ? args[2]->data : nullptr,
                                       results[0]->data, sums[0], sums[1]);
          break;
      }
      for (size_t k = 0; k < step.out.size(); ++k) {
        const Slot& s = r.slots[size_t(step.out[k])];
        if (s.streams)
          detail::stream(out[size_t(s.output)].impl()->data + row * s.row_bytes, results[k]->data,
                         some * s.row_bytes);
      }
    }
  }
  if (r.streaming) detail::stream_end();
}

/// Rows in the parts that the separate record sums them up by.
void run_summing(const Ready& r, Inputs in, Outputs out) {
  const auto step = std::find_if(r.steps.begin(), r.steps.end(),
                                 [](const Step& s) { return s.kind == Kind::norm_grad; });
  const DType dtype = r.slots[size_t(step->out[1])].spec.dtype;
  const int64_t n = r.source.length, bytes = n * itemsize(dtype);
  const Tensor sums = empty({2, r.parts, n}, dtype);
  char* const dw = static_cast<char*>(sums.raw_data());
  char* const db = dw + r.parts * bytes;
  cpu::parallel_for(r.parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      std::memset(dw + k * bytes, 0, size_t(bytes));
      std::memset(db + k * bytes, 0, size_t(bytes));
      run_rows(r, in, out, r.source.rows * k / r.parts, r.source.rows * (k + 1) / r.parts,
               {dw + k * bytes, db + k * bytes});
    }
  });
  for (size_t i = 1; i < 3; ++i) {
    const int to = r.slots[size_t(step->out[i])].output;
    if (to >= 0)
      detail::layer_norm_grad_sum(dtype, i == 1 ? dw : db, r.parts, n, out[size_t(to)].raw_data());
  }
}

// --- The row of the op table ------------------------------------------------------------------

struct Held {
  std::shared_ptr<const Ready> ready;
};
const Ready& ready_of(const void* op) { return *static_cast<const Held*>(op)->ready; }

void run(const void* op, Inputs in, Outputs out) {
  const Ready& r = ready_of(op);
  Tensors copies;
  in = row_major(in, copies);
  if (r.parts) return run_summing(r, in, out);
  const int64_t blocks = (r.source.rows + r.block - 1) / r.block;
  cpu::parallel_for(blocks, std::max<int64_t>(1, grain / (r.block * r.source.length)),
                    [&](int64_t begin, int64_t end) {
                      run_rows(r, in, out, begin * r.block, std::min(end * r.block, r.source.rows),
                               {});
                    });
}

void infer(const void* op, Specs in, Spec* out) {
  const Ready& r = ready_of(op);
  require<ShapeError>(in.size() == r.n_in, "fused_row(): ", in.size(), " inputs for a program of ",
                      r.n_in);
  for (int i = 0; i < in.size(); ++i) {
    const Spec& want = r.source.inputs[size_t(i)].spec;
    require<ShapeError>(in[i].dtype == want.dtype && in[i].shape.numel() == want.shape.numel(),
                        "fused_row(): input ", i, " is ", in[i], ", the program is for ", want);
  }
  for (size_t i = 0; i < r.source.outputs.size(); ++i)
    out[i] = r.slots[size_t(r.source.outputs[i])].spec;
}

std::string print(const void* op) {
  const Ready& r = ready_of(op);
  const FusedRow& p = r.source;
  std::string s = cat("fused_row(rows=", p.rows, ", length=", p.length, ", program=");
  for (size_t k = 0; k < p.program.size(); ++k)
    s += (k ? "; " : "") + instruction_text(p.program[k], r.first[k], r.first[k + 1] - r.first[k]);
  return s + results_text(p.outputs);
}

uint64_t hash(const void* op) {
  const FusedRow& p = ready_of(op).source;
  return hash_program(detail::mix(uint64_t(p.rows), uint64_t(p.length)), p);
}

bool equal(const void* a, const void* b) {
  const FusedRow &x = ready_of(a).source, &y = ready_of(b).source;
  bool same = x.rows == y.rows && x.length == y.length && x.inputs.size() == y.inputs.size();
  for (size_t i = 0; same && i < x.inputs.size(); ++i)
    same = x.inputs[i].spec == y.inputs[i].spec && x.inputs[i].form == y.inputs[i].form;
  return same && equal_programs(x, y);
}

constexpr OpInfo make_row() {
  OpInfo r = fused_record<Held>("fused_row", FusedRow::max_inputs);
  r.infer = infer;
  r.cpu = run;
  r.print = print;
  r.hash = hash;
  r.equal = equal;
  return r;
}
constinit const auto rows = for_outputs<FusedRow::max_outputs>(make_row());

}  // namespace

const OpInfo& fused_row_info(int outputs) { return rows[size_t(outputs) - 1]; }

bool is_fused_row(const OpInfo& info) {
  return &info >= rows.data() && &info < rows.data() + rows.size();
}

std::shared_ptr<void> make_fused_row(FusedRow program) {
  if (program.inputs.size() > FusedRow::max_inputs ||
      program.program.size() > FusedRow::max_instructions ||
      program.outputs.size() > FusedRow::max_outputs || program.outputs.empty() ||
      program.rows < 2 || program.length < 1 || program.length > FusedRow::max_length)
    return nullptr;
  auto ready = std::make_shared<Ready>(std::move(program));
  if (!ready->possible) return nullptr;
  return std::make_shared<Held>(Held{std::move(ready)});
}

std::string fused_row_engine(const void* op) {
  const Ready& r = ready_of(op);
  std::string s = cat(r.block, " rows at a time");
  if (!r.engine.empty()) s += cat(r.engine == "tiles" ? ", " : ", jit ", r.engine);
  return s;
}

}  // namespace tandem::graph
