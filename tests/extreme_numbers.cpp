// Every whole number of every record, in turn, as far from its use as 64 bits go: in plain code, in
// a session, and in a graph that was read from text. What comes out is a small result, the same in
// all ways, or an error that names the op and its attributes: never a crash, a wrapped number, a
// long wait, or much memory. Nobody lists ops here. Runs under the sanitizers, too.
// ctest: shards 2
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "tandem/autograd/autograd.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/graph/session.h"
#include "tandem/op/registry.h"
#include "tests/support/extremes.h"
#include "tests/support/op_checks.h"

static std::atomic<int> refused{0};
[[gnu::noinline]] void* operator new(size_t n) {
  const bool much = n > tandem::testing::most_bytes;
  refused += much;
  void* p = much ? nullptr : std::malloc(std::max<size_t>(n, 1));
  if (!p) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace tandem::testing {

int refused_requests() { return refused; }

void PrintTo(const Case& c, std::ostream* os) { *os << c.text() << " sample " << c.number; }

namespace {

/// A whole number of a record: a field, or an entry of one that is a list.
struct Place {
  std::string field;
  int number;  ///< of the field
  int entry;   ///< all_entries; -1: not a list, or the only entry of one that is empty
};
constexpr int all_entries = -2;

class Finder final : public FieldVisitor {
 public:
  std::vector<Place> places;
  void visit(std::string_view, bool&) override { ++number_; }
  void visit(std::string_view, double&) override { ++number_; }
  void visit(std::string_view, std::string&) override { ++number_; }
  void visit(std::string_view, DType&) override { ++number_; }
  void visit(std::string_view, std::optional<double>&) override { ++number_; }
  void visit(std::string_view n, int64_t&) override { add(n, -1); }
  void visit(std::string_view n, std::optional<int64_t>&) override { add(n, -1); }
  void visit(std::string_view n, Shape& v) override {
    for (int i = 0; i < v.size(); ++i) places.push_back({std::string(n), number_, i});
    add(n, v.size() > 1 ? all_entries : -1);
    if (v.size() == 1) places.pop_back();
  }

 private:
  void add(std::string_view n, int entry) { places.push_back({std::string(n), number_++, entry}); }
  int number_ = 0;
};

class Writer final : public FieldVisitor {
 public:
  Writer(const Place& at, int64_t value) : at_(at), value_(value) {}
  void visit(std::string_view, bool&) override { ++number_; }
  void visit(std::string_view, double&) override { ++number_; }
  void visit(std::string_view, std::string&) override { ++number_; }
  void visit(std::string_view, DType&) override { ++number_; }
  void visit(std::string_view, std::optional<double>&) override { ++number_; }
  void visit(std::string_view, int64_t& v) override {
    if (number_++ == at_.number) v = value_;
  }
  void visit(std::string_view, std::optional<int64_t>& v) override {
    if (number_++ == at_.number) v = value_;
  }
  void visit(std::string_view, Shape& v) override {
    if (number_++ != at_.number) return;
    if (v.empty()) v.push_back(value_);
    else if (at_.entry >= 0) v[at_.entry] = value_;
    else std::fill(v.begin(), v.end(), Length(value_));
  }

 private:
  const Place& at_;
  int64_t value_;
  int number_ = 0;
};

/// The placeholders for these inputs.
Tensors placeholders(const Tensors& in, bool unknown) {
  Tensors all(in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].defined()) continue;
    Shape shape = in[i].shape();
    const bool key = in[i].dtype() == i64 && shape.size() == 1 && shape[0] == 2;
    for (Length& d : shape)
      if (unknown && !key) d = -1;
    all[i] = placeholder(cat("in", i), shape, in[i].dtype());
  }
  return all;
}

Tensors run_session(const Case& c, const Tensors& in, bool unknown) {
  const auto graph = graph::Graph::make();
  Tensors symbolic, fetches;
  std::vector<Feed> feeds;
  {
    const GraphScope scope(graph);
    symbolic = placeholders(in, unknown);
    fetches = run(c, symbolic);
  }
  for (size_t i = 0; i < in.size(); ++i)
    if (in[i].defined()) feeds.push_back({symbolic[i], in[i]});
  Session session(graph);
  Tensors out;
  for (const Tensor& t : session.run({fetches.data(), fetches.size()}, feeds)) out.push_back(t);
  return out;
}

/// The graph of one node as text: `results` are the specs that it says the node has.
std::string text_of(const Case& c, const Tensors& in, const std::vector<Spec>& results) {
  std::string given, names;
  for (size_t i = 0; i < in.size(); ++i) {
    if (i) names += ", ";
    names += in[i].defined() ? cat("%in", i) : "none";
    if (!in[i].defined()) continue;
    if (!given.empty()) given += ", ";
    given += cat("%in", i, ": ", to_string(in[i].spec()));
  }
  std::string made, returned;
  for (size_t k = 0; k < results.size(); ++k) {
    made += cat(k ? ", " : "", "%out", k, ": ", to_string(results[k]));
    returned += cat(k ? ", " : "", "%out", k);
  }
  const std::string call = c.text();
  std::string attributes = call.substr(c.info->name.size() + 1);
  if (attributes.size() > 1 && !names.empty()) names += ", ";
  return cat("graph(", given, ")\n  ", made, " = ", c.info->name, "(", names, attributes,
             "\n  return ", returned, "\n");
}

Tensors run_text(const Case& c, const Tensors& in, const std::vector<Spec>& results) {
  const auto graph = graph::parse(text_of(c, in, results));
  graph::verify(*graph);
  graph::optimize(*graph, false);
  Tensors given;
  for (const Tensor& t : in)
    if (t.defined()) given.push_back(t);
  return graph::Plan(graph).run({given.data(), given.size()});
}

/// Looks at one element from many places need no memory in plain code; a graph gives values.
bool is_large(const Tensors& list) {
  return std::any_of(list.begin(), list.end(),
                     [](const Tensor& t) { return t.numel() > int64_t(most_bytes) / 16; });
}

std::string agree(const Outcome& got, const Outcome& want, bool unknown = false) {
  if (!got.wrong.empty()) return got.wrong;
  if (!want.wrong.empty()) return {};
  const auto says = [&](const char* text) { return got.error.find(text) != std::string::npos; };
  if (is_large(want.results) &&
      (says("bytes on top of") || says("too many elements") || says("does not fit in 63 bits")))
    return {};
  // Expressions of unknown lengths have factors of 63 bits.
  if (unknown && says("): ") && says("does not fit in 63 bits")) return {};
  if (got.error.empty() != want.error.empty())
    return got.error.empty() ? "gives a result, plain code an error: " + want.error
                             : "throws where plain code gives a result: " + got.error;
  return got.error.empty() ? compare_all("result", got.results, want.results, 1) : "";
}

/// What is wrong with the record `c` of one extreme number.
std::string check(const Case& c, const Place& at, const Tensors& in) {
  const Outcome plain = outcome_of([&] { return run(c, in); });
  std::string wrong;
  const auto note = [&](const char* way, const std::string& what) {
    if (!what.empty()) wrong += cat(way, " ", what, "\n");
  };
  note("plain code", plain.wrong);
  if (!plain.error.empty() && (plain.error.find(c.info->name) == std::string::npos ||
                               plain.error.find(at.field) == std::string::npos))
    note("plain code", cat("throws what does not name the op and ", at.field, ": ", plain.error));
  if (plain.error.empty() && plain.wrong.empty() && c.info->differentiable &&
      c.has_floating_input() && !is_large(plain.results))
    note("its gradient", outcome_of([&] { return gradients(c, in); }).wrong);
  note("a session", agree(outcome_of([&] { return run_session(c, in, false); }), plain));
  note("a session of unknown lengths",
       agree(outcome_of([&] { return run_session(c, in, true); }), plain, true));
  std::vector<Spec> specs(size_t(c.info->outputs), Spec{{1}, f64, {}});
  for (size_t k = 0; k < plain.results.size(); ++k) specs[k] = plain.results[k].spec();
  note("a graph from text", agree(outcome_of([&] { return run_text(c, in, specs); }), plain));
  return wrong;
}

std::vector<Case> all_samples() {
  std::vector<Case> out;
  for (const OpInfo* info : ops()) {
    SampleSet set;
    info->samples(set);
    int number = 0;
    for (Sample& s : set.samples) {
      Finder finder;
      info->visit(s.op.get(), finder);
      if (!finder.places.empty()) out.push_back({info, std::move(s), number});
      ++number;
    }
  }
  return out;
}
std::string case_name(const ::testing::TestParamInfo<Case>& p) {
  return cat(p.param.info->name, "_", p.param.number);
}

class ExtremeNumbers : public ::testing::TestWithParam<Case> {};

TEST_P(ExtremeNumbers, AreResultsOrErrors) {
  const Case& c = GetParam();
  const Tensors in = c.inputs();
  Finder finder;
  c.info->visit(c.sample.op.get(), finder);
  for (const Place& at : finder.places)
    for (const int64_t v : extremes) {
      Case changed = c;
      changed.sample.op = graph::copy_record(*c.info, c.op());
      Writer writer(at, v);
      try {
        c.info->visit(changed.sample.op.get(), writer);
      } catch (const ShapeError&) {
        continue;  // no number that a length can be
      }
      if (std::getenv("TANDEM_TRACE")) std::fprintf(stderr, "%s\n", changed.text().c_str());
      EXPECT_EQ(check(changed, at, in), "") << changed.text();
    }
}

INSTANTIATE_TEST_SUITE_P(ops, ExtremeNumbers, ::testing::ValuesIn(all_samples()), case_name);

}  // namespace
}  // namespace tandem::testing
