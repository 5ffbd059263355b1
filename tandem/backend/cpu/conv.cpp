#include "tandem/backend/cpu/conv.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <unordered_map>

#include "tandem/backend/cpu/conv_choice.h"
#include "tandem/backend/cpu/conv_direct.h"
#include "tandem/backend/cpu/conv_im2col.h"
#include "tandem/backend/cpu/conv_onednn.h"
#include "tandem/backend/cpu/conv_repair.h"
#include "tandem/backend/cpu/conv_winograd.h"
#include "tandem/backend/cpu/invalid_flag.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/core/autotune.h"

namespace tandem::cpu {
namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> g_winograd{true};

struct Key {
  ConvShape shape;
  ConvPass pass;
  bool bias, autotune, winograd;
  int threads;

  bool operator==(const Key&) const = default;
};

struct KeyHash {
  size_t operator()(const Key& k) const noexcept {
    const ConvShape& s = k.shape;
    uint64_t h = static_cast<uint64_t>(k.pass) * 8 + (k.bias ? 4u : 0u) + (k.autotune ? 2u : 0u) +
                 (k.winograd ? 1u : 0u);
    for (const int64_t v : {s.n, s.c, s.h, s.w, s.oc, s.kh, s.kw, s.stride_h, s.stride_w, s.pad_h,
                            s.pad_w, s.dil_h, s.dil_w, s.groups, int64_t{k.threads}}) {
      h = (h ^ static_cast<uint64_t>(v)) * 0x9e3779b97f4a7c15ull;
      h ^= h >> 29;
    }
    return static_cast<size_t>(h);
  }
};

using Algorithm = ConvAlgorithm;

// What a thread needs to run one pass of one shape.
struct Plan {
  Algorithm algorithm = Algorithm::im2col;
  std::unique_ptr<OneDnnConv> onednn;
};

using Plans = std::unordered_map<Key, Plan, KeyHash>;

// More shapes than this in one process come from inputs whose size keeps changing: start afresh.
constexpr size_t most_shapes = 1024;

Plans& plans() {
  static thread_local Plans mine;
  return mine;
}

// What was measured, for all threads.
struct Decisions {
  std::mutex mutex;
  std::unordered_map<Key, Algorithm, KeyHash> made;
};

Decisions& decisions() {
  static Decisions* const all = new Decisions;
  return *all;
}

ConvLayout layout_of(Algorithm a) {
  switch (a) {
    case Algorithm::plain: return ConvLayout::plain;
    case Algorithm::channels_last: return ConvLayout::channels_last;
    case Algorithm::onednn_winograd: return ConvLayout::winograd;
    default: return ConvLayout::blocked;
  }
}

bool is_onednn(Algorithm a) { return a <= Algorithm::onednn_winograd; }

// False when the algorithm does not exist for the shape.
bool prepare(const Key& key, Algorithm algorithm, Plan& plan) {
  plan.algorithm = algorithm;
  if (!is_onednn(algorithm)) return true;
  plan.onednn = OneDnnConv::make(key.pass, layout_of(algorithm), key.shape, key.bias);
  return plan.onednn != nullptr;
}

// True when the algorithm told of the rows itself.
bool run_own(const Key& key, Algorithm algorithm, const ConvOperands& o, const RowsDone& done) {
  const ConvShape& s = key.shape;
  if (key.pass == ConvPass::forward) {
    switch (algorithm) {
      case Algorithm::direct: return direct::forward(s, o.a, o.b, o.bias, o.out, done), true;
      case Algorithm::winograd: return winograd::forward(s, o.a, o.b, o.bias, o.out, done), true;
      case Algorithm::depthwise: direct::depthwise_forward(s, o.a, o.b, o.bias, o.out); break;
      default: im2col::forward(s, o.a, o.b, o.bias, o.out); break;
    }
    return false;
  }
  if (key.pass == ConvPass::backward_data) {
    switch (algorithm) {
      case Algorithm::direct: return direct::backward_data(s, o.a, o.b, o.out, done), true;
      case Algorithm::winograd: return winograd::backward_data(s, o.a, o.b, o.out, done), true;
      case Algorithm::depthwise: direct::depthwise_backward_data(s, o.a, o.b, o.out); break;
      default: im2col::backward_data(s, o.a, o.b, o.out); break;
    }
    return false;
  }
  switch (algorithm) {
    case Algorithm::depthwise: direct::depthwise_backward_weights(s, o.a, o.b, o.out); break;
    case Algorithm::direct: direct::backward_weights(s, o.a, o.b, o.out); break;
    case Algorithm::winograd: winograd::backward_weights(s, o.a, o.b, o.out); break;
    default: im2col::backward_weights(s, o.a, o.b, o.out); break;
  }
  if (o.bias_grad != nullptr) im2col::bias_gradient(s, o.b, o.bias_grad);
  return false;
}

void finish(const ConvShape& s, ConvPass pass, const RowsDone& done) {
  if (pass == ConvPass::forward) finish_rows(s.n * s.oc * s.out_h(), s.out_w(), done);
  else finish_rows(s.n * s.c * s.h, s.w, done);
}

int64_t input_size(const ConvShape& s) { return s.n * s.c * s.h * s.w; }
int64_t output_size(const ConvShape& s) {
  return s.n * s.oc * std::max<int64_t>(0, s.out_h()) * std::max<int64_t>(0, s.out_w());
}
int64_t weight_size(const ConvShape& s) { return s.oc * (s.c / s.groups) * s.kh * s.kw; }

// Whether zeros around an image can meet an infinity or NaN of the filters `w`. One of the two
// looks, at the filters or at every element of the result, costs next to nothing.
template <class T>
bool may_need_repair(const ConvShape& s, const T* w) {
  constexpr int64_t many_taps = 64;
  return s.c / s.groups * s.kh * s.kw >= many_taps || !all_finite(w, weight_size(s));
}
template <class T>
void repair_own_weights(const ConvShape& s, const T* x, const T* dy, T* dw) {
  if (weight_size(s) <= output_size(s) || !all_finite(dy, output_size(s)))
    repair_weights(s, x, dy, dw);
}

// What oneDNN mixes shows in the processor's flags, unless it is quiet NaN. Looking at them is a
// parallel region, too much for small work: there the operands that meet the zeros are looked at.
void run_onednn(const Key& key, Plan& plan, const ConvOperands& o, const RowsDone& done) {
  constexpr double enough = 4e6;
  const ConvShape& s = key.shape;
  const bool weights = key.pass == ConvPass::backward_weights;
  const bool padded = key.pass == ConvPass::backward_data || s.pad_h > 0 || s.pad_w > 0;
  const double work =
      static_cast<double>(output_size(s)) * static_cast<double>(s.c / s.groups * s.kh * s.kw);
  plan.onednn->run(o);
  bool mixed = false;
  if (plan.algorithm == Algorithm::onednn_winograd || work > enough) mixed = take_invalid_flags();
  else if (padded) mixed = weights ? !all_finite(o.b, output_size(s)) : may_need_repair(s, o.b);
  if (weights) {
    if (mixed) repair_weights(s, o.a, o.b, o.out);
  } else if (mixed) {
    const ConvRepair<float> repair(s, key.pass, o.a, o.b, o.bias, o.out, done);
    finish(s, key.pass, repair.rows());
  } else {
    finish(s, key.pass, done);
  }
}

void run(const Key& key, Plan& plan, const ConvOperands& o, const RowsDone& done) {
  const ConvShape& s = key.shape;
  if (plan.onednn) return run_onednn(key, plan, o, done);
  const bool mixes = plan.algorithm == Algorithm::winograd;
  if (key.pass == ConvPass::backward_weights) {
    run_own(key, plan.algorithm, o, done);
    if (mixes || s.pad_h > 0 || s.pad_w > 0) repair_own_weights(s, o.a, o.b, o.out);
    return;
  }
  const bool data = key.pass == ConvPass::backward_data;
  const bool padded = data ? plan.algorithm != Algorithm::im2col : s.pad_h > 0 || s.pad_w > 0;
  if (mixes || (padded && may_need_repair(s, o.b))) {
    const ConvRepair<float> repair(s, key.pass, o.a, o.b, o.bias, o.out, done);
    if (!run_own(key, plan.algorithm, o, repair.rows())) finish(s, key.pass, repair.rows());
  } else if (!run_own(key, plan.algorithm, o, done)) {
    finish(s, key.pass, done);
  }
}

double seconds(const Key& key, Plan& plan, const ConvOperands& operands) {
  const Clock::time_point start = Clock::now();
  run(key, plan, operands, {});
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Runs every candidate on the caller's buffers (each result is a valid one) and keeps the fastest.
Plan measure(const Key& key, const ConvChoices& tries, const ConvOperands& operands) {
  Plan best;
  double best_time = 1e30;
  bool found = false;
  for (int i = 0; i < tries.count; ++i) {
    Plan plan;
    if (!prepare(key, tries.list[i], plan)) continue;
    double time = seconds(key, plan, operands);
    // The first run pays for page faults; long runs hardly notice.
    const int repeats = time < 2e-3 ? 3 : (time < 0.1 ? 2 : 1);
    for (int r = 0; r < repeats && time < 3 * best_time; ++r) {
      time = std::min(time, seconds(key, plan, operands));
    }
    if (found && time >= best_time) continue;
    best = std::move(plan);
    best_time = time;
    found = true;
  }
  return best;  // im2col when nothing else exists: the caller runs it
}

void execute(ConvPass pass, const ConvShape& shape, bool bias, const ConvOperands& operands,
             const RowsDone& done) {
  const Key key{shape, pass, bias, autotune(), conv_winograd(), usable_threads()};
  Plans& mine = plans();
  const auto found = mine.find(key);
  if (found != mine.end()) return run(key, found->second, operands, done);

  if (mine.size() >= most_shapes) mine.clear();
  Plan plan;
  if (!key.autotune) {
    const ConvChoices choices = conv_rule(pass, shape, key.winograd);
    for (int i = 0; i < choices.count && !prepare(key, choices.list[i], plan); ++i) {}
    return run(key, mine.emplace(key, std::move(plan)).first->second, operands, done);
  }

  Decisions& shared = decisions();
  bool known = false;
  {
    const std::lock_guard<std::mutex> lock(shared.mutex);
    const auto decided = shared.made.find(key);
    known = decided != shared.made.end();
    if (known) plan.algorithm = decided->second;
  }
  if (known) {
    if (!prepare(key, plan.algorithm, plan)) plan = Plan{};
    return run(key, mine.emplace(key, std::move(plan)).first->second, operands, done);
  }
  plan = measure(key, conv_candidates(pass, shape, key.winograd), operands);
  {
    const std::lock_guard<std::mutex> lock(shared.mutex);
    if (shared.made.size() >= most_shapes) shared.made.clear();
    shared.made.emplace(key, plan.algorithm);
  }
  run(key, mine.emplace(key, std::move(plan)).first->second, operands, done);
}

// Nothing to multiply: y is the bias, gradients are zero. True when that was all.
template <class T>
bool empty_forward(const ConvShape& s, const T* bias, T* y) {
  const int64_t size = output_size(s);
  if (size > 0 && input_size(s) > 0 && weight_size(s) > 0) return false;
  if (size == 0) return true;
  const int64_t area = size / (s.n * s.oc);
  for (int64_t i = 0; i < s.n * s.oc; ++i) {
    std::fill_n(y + i * area, area, bias == nullptr ? T{0} : bias[i % s.oc]);
  }
  return true;
}

template <class T>
bool empty_backward(const ConvShape& s, int64_t size, T* out) {
  if (output_size(s) > 0 && input_size(s) > 0 && weight_size(s) > 0) return false;
  std::fill_n(out, size, T{0});
  return true;
}

}  // namespace

void conv_forward(const ConvShape& shape, const float* x, const float* w, const float* bias,
                  float* y, const RowsDone& done) {
  if (empty_forward(shape, bias, y)) return finish(shape, ConvPass::forward, done);
  execute(ConvPass::forward, shape, bias != nullptr, {x, w, y, bias}, done);
}

void conv_forward(const ConvShape& shape, const double* x, const double* w, const double* bias,
                  double* y, const RowsDone& done) {
  if (empty_forward(shape, bias, y)) return finish(shape, ConvPass::forward, done);
  im2col::forward(shape, x, w, bias, y);
  if (!(shape.pad_h > 0 || shape.pad_w > 0) || !may_need_repair(shape, w))
    return finish(shape, ConvPass::forward, done);
  const ConvRepair<double> repair(shape, ConvPass::forward, x, w, bias, y, done);
  finish(shape, ConvPass::forward, repair.rows());
}

void conv_forward(const ConvShape& shape, const int64_t* x, const int64_t* w, const int64_t* bias,
                  int64_t* y, const RowsDone& done) {
  if (!empty_forward(shape, bias, y)) im2col::forward(shape, x, w, bias, y);
  finish(shape, ConvPass::forward, done);
}

void conv_backward_data(const ConvShape& shape, const float* dy, const float* w, float* dx,
                        const RowsDone& done) {
  if (empty_backward(shape, input_size(shape), dx))
    return finish(shape, ConvPass::backward_data, done);
  execute(ConvPass::backward_data, shape, false, {dy, w, dx}, done);
}

void conv_backward_data(const ConvShape& shape, const double* dy, const double* w, double* dx,
                        const RowsDone& done) {
  if (!empty_backward(shape, input_size(shape), dx)) im2col::backward_data(shape, dy, w, dx);
  finish(shape, ConvPass::backward_data, done);
}

void conv_backward_data(const ConvShape& shape, const int64_t* dy, const int64_t* w, int64_t* dx,
                        const RowsDone& done) {
  if (!empty_backward(shape, input_size(shape), dx)) im2col::backward_data(shape, dy, w, dx);
  finish(shape, ConvPass::backward_data, done);
}

void conv_backward_weights(const ConvShape& shape, const float* x, const float* dy, float* dw,
                           float* db) {
  if (empty_backward(shape, weight_size(shape), dw)) {
    if (db != nullptr) im2col::bias_gradient(shape, dy, db);
    return;
  }
  execute(ConvPass::backward_weights, shape, db != nullptr, {x, dy, dw, nullptr, db}, {});
}

void conv_backward_weights(const ConvShape& shape, const double* x, const double* dy, double* dw,
                           double* db) {
  if (db != nullptr) im2col::bias_gradient(shape, dy, db);
  if (empty_backward(shape, weight_size(shape), dw)) return;
  im2col::backward_weights(shape, x, dy, dw);
  if (shape.pad_h > 0 || shape.pad_w > 0) repair_own_weights(shape, x, dy, dw);
}

void conv_backward_weights(const ConvShape& shape, const int64_t* x, const int64_t* dy, int64_t* dw,
                           int64_t*) {
  if (!empty_backward(shape, weight_size(shape), dw)) im2col::backward_weights(shape, x, dy, dw);
}

void set_conv_winograd(bool on) noexcept { g_winograd.store(on, std::memory_order_relaxed); }
bool conv_winograd() noexcept { return g_winograd.load(std::memory_order_relaxed); }

}  // namespace tandem::cpu
