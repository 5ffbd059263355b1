#include "tests/support/op_checks.h"

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/graph/ir.h"
#include "tests/support/fields.h"

namespace tandem::testing {
namespace {

bool is_leaf_input(const Case& c, size_t i) {
  return c.sample.in[i].fill != InputSpec::absent && is_floating(c.sample.in[i].dtype);
}

std::string at(const char* what, size_t i, const std::string& text) {
  return text.empty() ? "" : cat(what, " ", i, " ", text, "\n");
}

/// A dtype that was refused is no failure of its values.
std::optional<Tensors> run_unless_refused(const Case& c, const Tensors& in, std::string& refusal) {
  try {
    return run(c, in);
  } catch (const DTypeError& e) {
    refusal = e.what();
  } catch (const NotImplemented& e) {
    refusal = e.what();
  }
  return {};
}

Tensors cast_all(const Tensors& in, DType dtype, const Case& c) {
  Tensors out;
  for (size_t i = 0; i < in.size(); ++i)
    out.push_back(in[i].defined() && c.sample.in[i].dtype == f64
                      ? detail::as_contiguous(in[i], dtype)
                      : in[i]);
  return out;
}

/// Every second element of a memory twice as wide, from the fourth on.
Tensor lay_apart(const Tensor& t) {
  const Tensor memory = zeros({2 * t.numel() + 4}, t.dtype());
  Strides strides = contiguous_strides(t.shape());
  for (Length& s : strides) s *= 2;
  const Tensor out = detail::alias(memory, t.shape(), strides, 3);
  detail::copy_data(out, t);
  return out;
}

/// Values of the first slice along `axis` everywhere, by a zero stride.
Tensor lay_repeated(const Tensor& t, int axis) {
  const Tensor c = detail::as_contiguous(t);
  Strides strides = c.strides();
  strides[axis] = 0;
  return detail::alias(c, c.shape(), strides, 0);
}

FieldValue another(const FieldValue& v) {
  return std::visit(
      [](const auto& x) -> FieldValue {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, bool>) return !x;
        else if constexpr (std::is_same_v<T, int64_t>) return x + 1;
        else if constexpr (std::is_same_v<T, double>) return x == 0.25 ? 0.5 : 0.25;
        else if constexpr (std::is_same_v<T, std::string>) return x + "!";
        else if constexpr (std::is_same_v<T, DType>) return x == f32 ? f64 : f32;
        else if constexpr (std::is_same_v<T, Shape>) {
          Shape s = x;
          if (s.empty()) s.push_back(3);
          else ++s[s.size() - 1];
          return s;
        } else if constexpr (std::is_same_v<T, std::optional<int64_t>>) {
          return T(x ? *x + 1 : 0);
        } else {
          return T(x ? *x + 1 : 0);
        }
      },
      v);
}

}  // namespace

bool Case::has_floating_input() const {
  for (const InputSpec& s : sample.in)
    if (s.fill != InputSpec::absent && s.dtype == f64) return true;
  return false;
}

bool Case::checks_gradient() const {
  return info->differentiable && sample.gradient && has_floating_input();
}

std::string compare_all(const char* what, const Tensors& got, const Tensors& want, double slack) {
  if (got.size() != want.size())
    return cat(got.size(), " ", what, "s, should be ", want.size(), "\n");
  std::string wrong;
  for (size_t i = 0; i < got.size(); ++i) {
    const Tolerance tol = tolerance_of(want[i].defined() ? want[i].dtype() : f64) * slack;
    wrong += at(what, i, difference(got[i], want[i], tol));
  }
  return wrong;
}

Tensors run(const Case& c, const Tensors& in) {
  return detail::apply_all(*c.info, c.op(), in.data(), int(in.size()));
}

Tensors gradients(const Case& c, const Tensors& in) {
  EnableGrad on;
  Tensors leaves, given(in), found(in.size());
  std::vector<size_t> which;
  for (size_t i = 0; i < in.size(); ++i)
    if (is_leaf_input(c, i) && is_floating(in[i].dtype())) {
      given[i] = detail::alias(in[i]);
      given[i].requires_grad_();
      leaves.push_back(given[i]);
      which.push_back(i);
    }
  const Tensors out = run(c, given);
  std::vector<Tensor> roots, cotangents;
  for (size_t k = 0; k < size_t(results_of(*c.info)); ++k)
    if (is_floating(out[k].dtype()) && out[k].requires_grad()) {
      roots.push_back(out[k]);
      cotangents.push_back(c.cotangent(int(k), out[k].spec()));
    }
  if (roots.empty()) return found;
  const Tensors g = grad(roots, leaves, cotangents, {.allow_unused = true});
  for (size_t j = 0; j < which.size(); ++j) found[which[j]] = g[j];
  return found;
}

std::string check_infer(const Case& c) {
  const Tensors in = c.inputs();
  const Tensors out = run(c, in);
  std::vector<Spec> specs(size_t(c.info->outputs));
  c.info->infer(c.op(), Specs(in.data(), int(in.size())), specs.data());
  std::string wrong;
  if (out.size() != specs.size()) wrong += cat(out.size(), " outputs\n");
  for (size_t k = 0; k < specs.size(); ++k)
    if (!(out[k].spec() == specs[k]))
      wrong += cat("output ", k, " is ", to_string(out[k].spec()), ", infer says ",
                   to_string(specs[k]), "\n");

  Tensors empty_in;
  for (const Tensor& t : in)
    empty_in.push_back(t.defined() ? empty(t.shape(), t.dtype(), null_device) : Tensor());
  const Tensors shapes = run(c, empty_in);
  for (size_t k = 0; k < specs.size(); ++k) {
    Spec want = specs[k];
    want.device = null_device;
    if (!in.empty() && !(shapes[k].spec() == want))
      wrong += cat("on the null device output ", k, " is ", to_string(shapes[k].spec()),
                   ", should be ", to_string(want), "\n");
  }
  if (c.info->view && c.info->cpu) {
    Tensors made;
    for (const Spec& s : specs) made.push_back(empty(s));
    c.info->cpu(c.op(), in, {made.data(), made.size()});
    if (const std::string d = compare_all("the kernel's output", made, out, 1); !d.empty())
      wrong += cat("unlike the view: ", d);
  }
  return wrong;
}

namespace {

/// What running the record on these says: the kind of error, or "" when there is none.
std::string outcome(const Case& c, const Tensors& in) {
  try {
    run(c, in);
  } catch (const DeviceError&) {
    return "DeviceError";
  } catch (const Error&) {
    return "Error";
  } catch (const std::exception& e) {
    return cat("no typed error: ", e.what());
  }
  return "";
}

/// `in` as values of a graph, which they keep.
Tensors as_symbols(const Tensors& in) {
  const auto g = graph::Graph::make();
  Tensors out;
  for (size_t i = 0; i < in.size(); ++i)
    out.push_back(in[i].defined() ? g->input(cat("in", i), in[i].spec()) : Tensor());
  return out;
}

}  // namespace

std::string check_misplaced(const Case& c) {
  const Tensors in = c.inputs();
  std::string wrong;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].defined()) continue;
    Tensors without(in), elsewhere(in);
    without[i] = Tensor();
    elsewhere[i] = empty(in[i].shape(), in[i].dtype(), null_device);
    const bool optional = int(i) >= c.info->min_inputs && !c.info->all_defined;
    bool others = false;  // that have to be where this one is
    for (size_t k = 0; k < in.size(); ++k)
      others = others || (k != i && in[k].defined() &&
                          (c.info->on_cpu.has(int(i)) || !c.info->on_cpu.has(int(k))));
    for (const bool symbolic : {false, true}) {
      const char* where = symbolic ? " in a graph" : "";
      const std::string missing = outcome(c, symbolic ? as_symbols(without) : without);
      if (missing.starts_with("no ") || (missing.empty() && !optional))
        wrong +=
            cat("without input ", i, where, ": ", missing.empty() ? "no error" : missing, "\n");
      const std::string apart = outcome(c, symbolic ? as_symbols(elsewhere) : elsewhere);
      if (apart != (others ? "DeviceError" : ""))
        wrong += cat("with input ", i, " on the null device", where, ": ",
                     apart.empty() ? "no error" : apart, "\n");
    }
  }
  return wrong;
}

std::string check_golden(const Case& c, const Golden& golden) {
  const Tensors in = c.inputs();
  const Tensor checks = golden.get("checks");
  if (!checks.defined() || checks.numel() <= c.number)
    return "the golden file does not have this sample; run tests/golden/make_goldens.py\n";
  if (uint64_t(checks.data<int64_t>()[c.number]) != checksum(*c.info, c.op(), in))
    return "the sample has changed since the golden was made; run tests/golden/make_goldens.py\n";
  const std::string prefix = cat(c.number, ".");
  const Tensors out = run(c, in);
  std::string wrong;
  for (size_t k = 0; k < out.size(); ++k) {
    const Tensor want = golden.get(cat(prefix, "out", k));
    if (want.defined()) wrong += at("output", k, difference(out[k], want));
    else if (k == 0) wrong += "the golden file has no output 0 of this sample\n";
  }
  if (!c.info->differentiable) return wrong;
  const Tensors g = gradients(c, in);
  for (size_t i = 0; i < in.size(); ++i) {
    const Tensor want = golden.get(cat(prefix, "grad", i));
    if (!want.defined()) continue;
    const Tensor got = g[i].defined() ? g[i] : zeros_like(in[i]);
    wrong += at("gradient of input", i, difference(got, want, tolerance_of(want.dtype()) * 10));
  }
  return wrong;
}

std::string check_dtypes(const Case& c, const Golden* golden) {
  std::string wrong;
  const Tensor taken = golden ? golden->get(cat(c.number, ".dtypes")) : Tensor();
  for (const DType d : {f32, f16, bf16, i8, u8, i16, u16, i32, u32, i64, u64, boolean}) {
    const int expected = taken.defined() ? taken.data<int8_t>()[int(d)] : is_floating(d) ? -2 : -1;
    if (expected == -1 || (expected == -2 && !is_floating(d))) continue;
    const Tensors in = c.inputs(d);
    std::string refusal;
    const auto got = run_unless_refused(c, in, refusal);
    const std::string where = cat("with ", name(d), ": ");
    if (!got) {
      bool empty = false;  // without elements anything goes in PyTorch
      for (const Tensor& t : in) empty = empty || (t.defined() && t.numel() == 0);
      if (empty && !is_floating(d)) continue;
      wrong += cat(where, "is refused: ", refusal, "\n");
      continue;
    }
    if (expected >= 0 && int((*got)[0].dtype()) != expected)
      wrong += cat(where, "gives ", (*got)[0].dtype(), ", should give ", DType(expected), "\n");
    if (!is_floating(d)) {
      for (size_t k = 0; k < got->size(); ++k)
        if (const Tensor w = golden->get(cat(c.number, ".", name(d), ".out", k)); w.defined())
          if (const std::string t = difference((*got)[k], w); !t.empty())
            wrong += cat(where, "output ", k, " ", t, "\n");
      continue;
    }
    const Tensors exact = cast_all(in, f64, c);
    Tensors want = run(c, exact);
    for (size_t k = 0; k < want.size(); ++k)
      if (is_floating(want[k].dtype()) && is_floating((*got)[k].dtype()))
        want[k] = detail::as_contiguous(want[k], (*got)[k].dtype());
    if (const std::string t = compare_all("output", *got, want, 1); !t.empty())
      wrong += cat(where, t);
    if (!c.info->differentiable || !c.sample.gradient) continue;
    const Tensors dg = gradients(c, in);
    Tensors dw = gradients(c, exact);
    for (size_t i = 0; i < dw.size(); ++i)
      if (dw[i].defined()) dw[i] = detail::as_contiguous(dw[i], in[i].dtype());
    // A gradient made of several ops rounds after each.
    const double slack = d == f32 ? 4 : 12;
    if (const std::string t = compare_all("gradient of input", dg, dw, slack); !t.empty())
      wrong += cat(where, t);
  }
  return wrong;
}

std::string check_graph(const Case& c) {
  const Tensors in = c.inputs();
  const auto graph = graph::Graph::make();
  Tensors symbolic(in.size()), fed;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].defined()) continue;
    symbolic[i] = graph->input(cat("in", i), in[i].spec());
    fed.push_back(in[i]);
  }
  Tensors want = run(c, in);
  Tensors out;
  {
    const detail::CaptureScope scope(*graph);  // some records have no inputs
    out = run(c, symbolic);
  }
  for (size_t k = 0; k < out.size(); ++k) {
    if (!out[k].is_symbolic()) return cat("output ", k, " is not symbolic\n");
    graph->output(cat("out", k), out[k]);
  }
  if (c.info->differentiable && c.has_floating_input()) {
    const Tensors g = gradients(c, in), sg = gradients(c, symbolic);
    for (size_t i = 0; i < g.size(); ++i) {
      if (g[i].defined() != sg[i].defined())
        return cat("the gradient of input ", i, " is defined in one of eager and graph only\n");
      if (!g[i].defined()) continue;
      if (!sg[i].is_symbolic()) {  // does not depend on the inputs' values
        if (const std::string d = difference(sg[i], g[i]); !d.empty()) return at("gradient", i, d);
        continue;
      }
      want.push_back(g[i]);
      graph->output(cat("grad", i), sg[i]);
    }
  }
  return compare_all("result", graph->run(fed), want, 1);
}

std::string check_strided(const Case& c) {
  std::string wrong;
  auto compare = [&](const char* what, const Tensors& laid) {
    Tensors plain;
    for (const Tensor& t : laid) plain.push_back(t.defined() ? detail::as_contiguous(t) : t);
    std::string refusal, text;
    try {
      run(c, plain);
    } catch (const Error& e) {  // repeated values may be bad ones
      refusal = e.what();
    }
    if (!refusal.empty()) {
      try {
        run(c, laid);
      } catch (const Error& e) {
        if (refusal == e.what()) return;
      }
      wrong += cat(what, ": is taken, but not row-major: ", refusal, "\n");
      return;
    }
    text = compare_all("output", run(c, laid), run(c, plain), 1);
    if (c.info->differentiable && c.sample.gradient)
      text += compare_all("gradient of input", gradients(c, laid), gradients(c, plain), 1);
    if (!text.empty()) wrong += cat(what, ": ", text);
  };
  for (const std::optional<DType> d : {std::optional<DType>(), std::optional<DType>(f32)}) {
    if (d && !c.has_floating_input()) break;
    Tensors across, apart;
    const Tensors in = c.inputs(d);
    for (const Tensor& t : in) {
      across.push_back(t.defined() ? lay_transposed(t) : t);
      apart.push_back(t.defined() ? lay_apart(t) : t);
    }
    compare("transposed in memory", across);
    compare("every second element of its memory", apart);
    for (size_t i = 0; i < in.size(); ++i)
      for (int axis = 0; in[i].defined() && axis < in[i].dim(); ++axis) {
        if (in[i].shape()[axis] < 2 || in[i].numel() == 0) continue;
        Tensors repeated(in);
        repeated[i] = lay_repeated(in[i], axis);
        compare(cat("input ", i, " repeated along axis ", axis).c_str(), repeated);
      }
  }
  return wrong;
}

std::string check_error(const Case& c) {
  try {
    run(c, c.inputs());
  } catch (const Error& e) {
    return e.what() == c.sample.error
               ? ""
               : cat("says:      ", e.what(), "\nshould say: ", c.sample.error, "\n");
  }
  return cat("did not throw; should say: ", c.sample.error, "\n");
}

std::string check_attributes(const Case& c) {
  const OpInfo& info = *c.info;
  FieldReader reader;
  info.visit(c.sample.op.get(), reader);
  std::string wrong;
  for (size_t i = 0; i <= reader.fields.size(); ++i) {  // the last round changes nothing
    auto fields = reader.fields;
    const bool changed = i < fields.size();
    if (changed) fields[i].second = another(fields[i].second);
    OwnedOp copy(info);
    FieldWriter writer(fields);
    info.visit(copy.get(), writer);
    const std::string what = changed ? cat("with another ", fields[i].first) : "unchanged";
    if (info.equal(copy.get(), c.op()) == changed) wrong += cat(what, ": equality is wrong\n");
    if ((info.hash(copy.get()) == info.hash(c.op())) == changed)
      wrong += cat(what, ": the hash is wrong\n");
    if ((info.print(copy.get()) == c.text()) == changed)
      wrong += cat(what, ": prints ", info.print(copy.get()), " beside ", c.text(), "\n");
  }
  if (!c.text().starts_with(cat(info.name, "("))) wrong += cat("prints ", c.text(), "\n");
  return wrong;
}

std::string check_scalar_and_empty(const Case& c) {
  std::string wrong;
  for (const Shape& shape : {Shape{}, Shape{0, 3}}) {
    Case other = c;
    for (InputSpec& s : other.sample.in) {
      s.shape = shape;
      s.transposed = false;
    }
    const Tensors in = other.inputs();
    Spec want;
    c.info->infer(c.op(), Specs(in.data(), int(in.size())), &want);
    const Tensors out = run(other, in);
    if (!(out[0].spec() == want))
      wrong += cat("gives ", to_string(out[0].spec()), " for inputs ", shape, ", infer says ",
                   to_string(want), "\n");
    if (!c.info->differentiable || !c.sample.gradient) continue;
    for (const Tensor& t : gradients(other, in))
      if (t.defined() && !(t.shape() == shape))
        wrong += cat("gives a gradient ", t.shape(), " for inputs ", shape, "\n");
  }
  return wrong;
}

}  // namespace tandem::testing
