// Machine code of fused elementwise programs against the records' own kernels.
#include "tandem/graph/jit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <string>

#include "tandem/graph/compile.h"
#include "tandem/graph/fused_code.h"
#include "tandem/graph/fused_point.h"
#include "tandem/op/recorder.h"
#include "tandem/op/registry.h"
#include "tandem/op/samples.h"
#include "tandem/tandem.h"

namespace tandem::graph {
namespace {

/// While it lives, programs are made with or without machine code.
class JitSwitch {
 public:
  explicit JitSwitch(bool on) : before_(jit_enabled()) { set_jit_enabled(on); }
  ~JitSwitch() { set_jit_enabled(before_); }

 private:
  bool before_;
};

std::vector<cpu::Isa> levels() {
  std::vector<cpu::Isa> all;
  for (cpu::Isa isa : {cpu::Isa::avx2, cpu::Isa::avx512})
    if (isa <= cpu::isa()) all.push_back(isa);
  return all;
}

/// Whether this build and this processor make machine code at all.
bool have_jit() {
  lanes::Program p;
  p.results = {lanes::append(p, {.code = lanes::Code::input})};
  const Jit::Input in[] = {{f32, false}};
  const DType out[] = {f32};
  return Jit::make(p, in, out, false) != nullptr;
}
#define NEEDS_JIT() \
  if (!have_jit()) GTEST_SKIP() << "no xbyak in this build, or neither AVX2 nor AVX-512 here"

/// All kinds of floats: any bits, the usual sizes, and the special ones.
Tensor floats(int64_t n, uint64_t seed) {
  const float special[] = {0.0f,  -0.0f,     1.0f,       -1.0f,     HUGE_VALF, -HUGE_VALF,
                           NAN,   0x1p-149f, -0x1p-127f, 0x1p-126f, 3.4e38f,   -3.4e38f,
                           88.8f, -104.0f,   13.0f,      0.5f,      2.0f,      1e-30f};
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Tensor t = empty({n});
  float* x = t.data<float>();
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = uint32_t(random());
    switch (random() % 8) {
      case 0: x[i] = special[random() % std::size(special)]; break;
      case 1: std::memcpy(x + i, &bits, 4); break;
      case 2: x[i] = normal(random) * 20; break;
      default: x[i] = normal(random); break;
    }
  }
  return t;
}

#if defined(__OPTIMIZE__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
constexpr bool exact = true;
#else
constexpr bool exact = false;  // kernels that contract products and sums in another way
#endif
#define NEEDS_EXACT() \
  if (!exact) GTEST_SKIP() << "this compiler rounds the kernels differently"

/// The same bits, or both NaN.
testing::AssertionResult alike(const Tensor& got, const Tensor& want, const Tensors& in) {
  const int64_t n = want.numel();
  for (int64_t i = 0; i < n; ++i) {
    if (want.dtype() == boolean) {
      if (got.data<bool>()[i] == want.data<bool>()[i]) continue;
      return testing::AssertionFailure() << "element " << i;
    }
    const float g = got.data<float>()[i], w = want.data<float>()[i];
    if (std::memcmp(&g, &w, 4) == 0 || (std::isnan(g) && std::isnan(w))) continue;
    std::string operands;
    for (const Tensor& t : in)
      if (t.dtype() == f32) operands += cat(" ", t.data<float>()[t.numel() == 1 ? 0 : i]);
    return testing::AssertionFailure()
           << "element " << i << ": " << g << " and " << w << " of" << operands;
  }
  return testing::AssertionSuccess();
}

Tensors run(const FusedPoint& p, const Tensors& in, const Jit* jit) {
  Tensors out;
  const char* from[Jit::max_inputs];
  float numbers[Jit::max_inputs][8];
  char* to[Jit::max_outputs];
  for (size_t k = 0; k < in.size(); ++k) {
    from[k] = in[k].numel() == 1 ? nullptr : static_cast<const char*>(in[k].raw_data());
    if (!from[k])
      for (float& x : numbers[k]) x = in[k].item<float>();
  }
  for (size_t k = 0; k < p.outputs.size(); ++k) {
    out.push_back(empty(p.shape, p.program[size_t(p.outputs[k]) - p.inputs.size()].dtype));
    to[k] = static_cast<char*>(const_cast<void*>(out[k].raw_data()));
  }
  jit->run(from, numbers[0], to, p.shape.numel());
  return out;
}

std::shared_ptr<const Jit> made_for(const FusedPoint& p, cpu::Isa isa, bool streaming) {
  lanes::Program program;
  if (!write_down(p, program)) return nullptr;
  std::vector<Jit::Input> in;
  std::vector<DType> out;
  for (const Spec& s : p.inputs) {
    const bool number = s.shape.numel() == 1;
    in.push_back({number ? f32 : s.dtype, number});
  }
  for (int id : p.outputs) out.push_back(p.program[size_t(id) - p.inputs.size()].dtype);
  return Jit::make(program, in, out, streaming, isa);
}

/// One record as a program; nothing when it is no elementwise one.
bool program_of(const OpInfo& info, std::shared_ptr<void> op, const Tensors& in, FusedPoint& p) {
  Spec out;
  const Specs specs(in.data(), int(in.size()));
  info.infer(op.get(), specs, &out);
  if (!is_point(info, specs, out)) return false;
  p.shape = out.shape;
  p.program = {{&info, op, {}, out.dtype}};
  for (size_t i = 0; i < in.size(); ++i) {
    p.inputs.push_back(in[i].spec());
    p.program[0].operands.push_back(int(i));
  }
  p.outputs = {int(in.size())};
  return true;
}

TEST(Jit, EveryRecordIsItsOwnKernel) {
  NEEDS_JIT();
  NEEDS_EXACT();
  constexpr int64_t n = 20011;
  std::set<std::string> traced, left;
  for (const OpInfo* info : ops()) {
    if (info->outputs != 1 || !info->broadcasts || !info->samples) continue;
    SampleSet set;
    info->samples(set);
    for (const auto& sample : set.samples) {
      if (!sample.error.empty()) continue;
      Tensors in;
      bool fits = true;
      for (const InputSpec& s : sample.in) {
        fits = fits && s.fill != InputSpec::absent && (s.dtype == f64 || s.dtype == boolean);
        in.push_back(floats(n, in.size() + 17));
        if (s.dtype == boolean) in.back() = in.back() > 0.0;
      }
      FusedPoint p;
      try {
        if (!fits || !program_of(*info, sample.op, in, p)) continue;
      } catch (const Error&) {
        continue;  // attributes that need other shapes
      }
      SCOPED_TRACE(info->print(sample.op.get()));
      if (!made_for(p, cpu::isa(), false)) {
        bool all = true;  // operands f32: there is a kernel of lanes
        for (const Tensor& t : in) all = all && t.dtype() == f32;
        if (all) left.insert(std::string(info->name));
        continue;
      }
      Tensor want = empty(p.shape, p.program[0].dtype);
      info->cpu(sample.op.get(), {in.data(), in.size()}, {&want, 1});
      for (cpu::Isa isa : levels()) {
        const auto jit = made_for(p, isa, false);
        ASSERT_TRUE(jit);
        EXPECT_TRUE(alike(run(p, in, jit.get())[0], want, in)) << jit->isa();
      }
      traced.insert(std::string(info->name));
    }
  }
  // What is computed in double precision or by the C library (div: rounded down), or moves memory.
  EXPECT_EQ(left, (std::set<std::string>{"acos", "acosh", "asin", "asinh", "atan", "atanh",
                                         "copy_into", "cos", "cosh", "div", "minifloat", "pow",
                                         "remainder", "sin", "sinh", "tan"}));
  for (const char* name : {"add", "div", "exp", "gelu", "gelu_grad", "log", "log1p", "expm1", "erf",
                           "tanh", "sigmoid", "silu", "softplus", "where", "clamp", "lt", "round"})
    EXPECT_TRUE(traced.count(name)) << name;
  EXPECT_GE(traced.size(), 50u);
}

/// Random programs with many values alive at once, so that registers run out.
FusedPoint random_program(uint64_t seed, const Shape& shape, Tensors& in) {
  std::mt19937 random{unsigned(seed)};
  auto below = [&](size_t n) { return int(random() % n); };
  FusedPoint p;
  p.shape = shape;
  const int n_in = 2 + below(22), n = 4 + below(44);
  for (int i = 0; i < n_in; ++i) {
    const Shape s = i > 0 && below(4) == 0 ? Shape{} : shape;
    in.push_back(floats(std::max<int64_t>(s.numel(), 1), seed * 100 + uint64_t(i)));
    in.back() = tandem::reshape(in.back(), s);
    p.inputs.push_back(in.back().spec());
  }
  std::vector<int> arrays, masks;
  for (int i = 0; i < n_in; ++i)
    if (p.inputs[size_t(i)].shape.numel() > 1 || shape.numel() == 1) arrays.push_back(i);
  auto put = [&](auto op, std::vector<int> operands, DType d) {
    p.program.push_back(
        {&op_info<decltype(op)>(), std::make_shared<decltype(op)>(op), std::move(operands), d});
    (d == boolean ? masks : arrays).push_back(n_in + int(p.program.size()) - 1);
  };
  for (int k = 0; k < n; ++k) {
    const int a = arrays[size_t(below(arrays.size()))], b = below(size_t(n_in)),
              c = arrays[arrays.size() - 1 - size_t(below(std::min<size_t>(arrays.size(), 20)))];
    switch (below(10)) {
      case 0: put(Add{}, {a, b}, f32); break;
      case 1: put(Mul{}, {b, c}, f32); break;
      case 2: put(Sub{}, {a, c}, f32); break;
      case 3: put(Gelu{}, {c}, f32); break;
      case 4: put(Lt{}, {a, b}, boolean); break;
      case 5: put(Tanh{}, {a}, f32); break;
      case 6: put(Maximum{}, {a, c}, f32); break;
      case 7: put(Div{}, {c, b}, f32); break;
      case 8:
        if (masks.empty()) put(Relu{}, {c}, f32);
        else put(Where{}, {masks[size_t(below(masks.size()))], a, c}, f32);
        break;
      default: put(GeluGrad{}, {a, c}, f32); break;
    }
  }
  const int last = n_in + n - 1;
  for (int k = 0; k < 4; ++k) {
    const int id = k == 0 ? last : n_in + below(size_t(n));
    if (std::find(p.outputs.begin(), p.outputs.end(), id) == p.outputs.end())
      p.outputs.push_back(id);
  }
  return p;
}

/// The program by the records' kernels, one whole array after the other.
Tensors one_by_one(const FusedPoint& p, const Tensors& in) {
  Tensors values = in, out;
  for (const auto& step : p.program) {
    Tensors operands;
    for (int id : step.operands) operands.push_back(values[size_t(id)]);
    Tensor y = empty(p.shape, step.dtype);
    step.info->cpu(step.op.get(), {operands.data(), operands.size()}, {&y, 1});
    values.push_back(y);
  }
  for (int id : p.outputs) out.push_back(values[size_t(id)]);
  return out;
}

TEST(Jit, RandomProgramsAndEveryTail) {
  NEEDS_JIT();
  NEEDS_EXACT();
  int made = 0, tried = 0;
  for (uint64_t seed = 0; seed < 120; ++seed) {
    SCOPED_TRACE(seed);
    Tensors in;
    const int64_t n = seed < 66 ? 2 + int64_t(seed % 33) : 200 + int64_t(seed);
    const FusedPoint p = random_program(seed, {n}, in);
    const Tensors want = one_by_one(p, in);
    for (cpu::Isa isa : levels())
      for (bool streaming : {false, true}) {
        ++tried;
        const auto jit = made_for(p, isa, streaming);
        if (!jit) continue;
        ++made;
        const Tensors got = run(p, in, jit.get());
        for (size_t i = 0; i < want.size(); ++i)
          EXPECT_TRUE(alike(got[i], want[i], {})) << jit->isa() << ", result " << i;
      }
    if (HasFailure()) break;
  }
  EXPECT_EQ(made, tried);
}

TEST(Jit, ResultsMayOverwriteInputs) {
  NEEDS_JIT();
  Tensors in = {floats(1000, 1), floats(1000, 2)};
  FusedPoint p;
  p.shape = {1000};
  p.inputs = {in[0].spec(), in[1].spec()};
  p.program = {{&op_info<Add>(), std::make_shared<Add>(), {0, 1}, f32},
               {&op_info<Mul>(), std::make_shared<Mul>(), {0, 1}, f32}};
  p.outputs = {2, 3};
  const Tensors want = one_by_one(p, in);
  for (cpu::Isa isa : levels())
    for (bool streaming : {false, true}) {
      const auto jit = made_for(p, isa, streaming);
      ASSERT_TRUE(jit);
      const Tensor a = clone(in[0]), b = clone(in[1]);
      char* both[] = {reinterpret_cast<char*>(const_cast<void*>(a.raw_data())),
                      reinterpret_cast<char*>(const_cast<void*>(b.raw_data()))};
      const float none[16] = {};
      jit->run(both, none, both, 1000);
      EXPECT_TRUE(alike(a, want[0], in));
      EXPECT_TRUE(alike(b, want[1], in));
    }
}

TEST(Jit, CompiledFunctionsWithAndWithoutIt) {
  NEEDS_JIT();
  NEEDS_EXACT();
  auto f = [](const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& mask,
              const Tensor& res) { return gelu(x * w + b) * mask + res * 0.5; };
  const Shape whole{37, 1003};
  manual_seed(3);
  const Tensor x = randn(whole), w = randn({1003}), b = randn({37, 1}), res = randn(whole);
  const Tensor mask = (rand(whole) > 0.5).to(f32);
  const NoGrad guard;
  const Tensor want = f(x, w, b, mask, res);
  for (bool on : {true, false}) {
    const JitSwitch with(on);
    auto fast = compile(f);
    EXPECT_TRUE(alike(fast(x, w, b, mask, res), want, {}));
    EXPECT_NE(fast.explain().find(on ? "  jit avx" : "  tiles"), std::string::npos)
        << fast.explain();
  }
}

}  // namespace
}  // namespace tandem::graph
