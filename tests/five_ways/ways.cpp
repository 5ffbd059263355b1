#include "tests/five_ways/ways.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tandem/tandem.h"
#include "tests/five_ways/compare.h"
#include "tests/five_ways/judge.h"
#include "tests/five_ways/runs.h"

namespace tandem::five_ways {
namespace {

/// One way: how it is made, and how exactly it must agree with plain code.
struct Way {
  std::string name;
  std::unique_ptr<Run> (*make)(const Program& p, const std::string& folder);
  bool bits = false;           ///< results to the last bit
  bool gradient_bits = false;  ///< and gradients
  bool trains = false;
  bool is_static = false;  ///< cannot run its code again: a decision by a length is an error
};

const std::vector<Way>& ways() {
  using P = const Program&;
  using S = const std::string&;
  static const std::vector<Way> all = {
      {"again", [](P p, S) { return plain_run(p); }, true, true},
      {"compiled deterministic", [](P p, S) { return compiled_run(p, Gradient::outside, true); },
       true},
      {"compiled", [](P p, S) { return compiled_run(p, Gradient::outside, false); }},
      {"compiled gradient", [](P p, S) { return compiled_run(p, Gradient::inside, false); }},
      {"compiled gradient deterministic",
       [](P p, S) { return compiled_run(p, Gradient::inside, true); }, true, true},
      {"session", [](P p, S) { return session_run(p); }, false, false, false, true},
      {"saved", [](P p, S folder) { return saved_run(p, folder); }, false, false, false, true},
      {"compiled training", [](P p, S) { return compiled_training(p, true); }, true, true, true},
      {"session training", [](P p, S) { return session_training(p); }, false, false, true, true}};
  return all;
}

template <class F>
bool any_step(const Program& p, F&& f) {
  bool any = false;
  each_step(p.steps, [&](const Step& s) { any = any || f(s); });
  return any;
}

/// Code that goes another way by a length, or gives another rank.
bool decides(const Program& p) {
  return any_step(p, [](const Step& s) {
    return s.kind == Step::walk || s.kind == Step::decide || s.name == "squeeze_all" ||
           s.name == "unbind" || (named_lengths && decides_by_attribute(s));
  });
}
bool has_draws(const Program& p) { return any_step(p, draws); }
bool has_step(const Program& p, std::initializer_list<std::string_view> names) {
  return any_step(p, [&](const Step& s) {
    return std::find(names.begin(), names.end(), s.name) != names.end();
  });
}
/// A graph adds up the gradient of a loop by itself, before it meets others.
bool has_loops(const Program& p) {
  return any_step(p,
                  [](const Step& s) { return s.kind == Step::while_loop || s.kind == Step::fold; });
}

/// Whether a branch may make something that is no result of the program.
bool has_unread_blocks(const Program& p) {
  return any_step(p, [](const Step& s) {
    bool any = s.kind == Step::decide;
    for (const Block& b : s.blocks)
      each_step(b.steps, [&](const Step& inner) {
        any = any || inner.kind == Step::write || inner.in_place;
      });
    return any;
  });
}
/// In a file, what a mask of attention hides is multiplied by zero, as PyTorch does it.
bool hides_infinities(const Program& p) {
  if (!has_step(p, {"scaled_dot_product_attention", "MultiheadAttention"})) return false;
  for (size_t c = 0; c < p.calls.size(); ++c)
    for (const Tensor& t : fed_inputs(p, int(c)))
      if (is_floating(t.dtype()) && !std::isfinite(abs(t.detach()).sum().to(f64).item<double>()))
        return true;
  return false;
}

/// Errors that a way may give where plain code gives a value.
bool is_limit(const Program& p, const Way& way, const Outcome& o) {
  if (o.error.empty() || way.name == "again") return false;
  if (o.text.find("the size of the result depends on it") != o.text.npos) return true;
  if (o.text.find("from outside the branch; give the new value") != o.text.npos) return true;
  if (o.text.find("in one branch and") != o.text.npos) return true;  // as they come to be
  // A loop of no turns would have needed the gradient of what was overwritten.
  if (has_loops(p) && o.text.find("has overwritten") != o.text.npos) return true;
  if (!way.is_static) return false;
  if (o.text.find("whether the two share memory depends on lengths") != o.text.npos) return true;
  // How many parts there are, and whether an axis stays, is decided by lengths.
  if (o.error == "LengthError" && has_step(p, {"squeeze", "split", "chunk"})) return true;
  // What is fed is row-major to a graph: a reshape that copies in plain code may be a view there,
  // and a region by strides shows other memory.
  for (const char* write :
       {"in-place write to a leaf", "in-place write to a view of a leaf",
        "copy_into has overwritten", "several elements of which are one in memory"})
    if (o.text.find(write) != o.text.npos) return true;
  return decides(p) && o.error != "std::bad_alloc" && o.error != "OutOfMemory";
}

/// Errors of plain code where a way may give a value.
bool is_lenient(const Program& p, const Way& way, const Outcome& plain, const Outcome& got) {
  if (way.name == "again" || plain.error.empty()) return false;
  // A graph does not compute what a branch writes or gives and nobody reads.
  if (got.error.empty() && plain.error == "IndexError" && has_unread_blocks(p)) return true;
  if (!way.is_static) return false;
  // Nor what would give no elements.
  for (const auto& [name, t] : got.values)
    if (got.error.empty() && t.defined() && t.numel() == 0) return true;
  if (!got.error.empty()) return got.text.find("is undefined") != got.text.npos;
  if (plain.text.starts_with("part ")) return true;  // of a chunk() that has fewer now
  // ONNX's operators say what they give for nothing.
  const bool of_nothing = plain.text.find("length=0)") != plain.text.npos;
  for (const char* op : {"embedding(padding_idx", "amax(", "amin(", "arange(", "one_hot(",
                         "linspace(", "adaptive_avg_pool2d(", "linear(): bias"})
    if (way.name == "saved" && plain.text.starts_with(op)) return true;
  if (way.name == "saved" && plain.text.starts_with("reshape(") &&
      plain.text.find(" of 0 elements") != plain.text.npos)
    return true;
  if (way.name == "saved" && plain.text.find("out of range [0, -1]") != plain.text.npos)
    return true;
  if (way.name == "saved" && plain.text.find("makes the accumulator") != plain.text.npos)
    return true;  // Loop allows it
  // A fold over nothing: plain code still tries what it would do.
  if (way.name == "saved" && plain.error == "IndexError" && has_loops(p)) return true;
  return way.name == "saved" && plain.text.starts_with("narrow(") && of_nothing;
}

class Judgement {
 public:
  Judgement(const Program& p, const WayOptions& options, const Announce& announce)
      : p_(p), options_(options), announce_(announce) {}

  std::vector<Difference> judge() {
    announce_("plain");
    plain_run_ = plain_run(p_);
    const NamedTensors begin = plain_run_->end();
    run_all(*plain_run_, plain_);
    plain_end_ = plain_run_->end();
    const bool trains = !p_.optimizer.empty() && !State(p_).leaves().empty();
    if (trains) {
      announce_("plain training");
      const auto training = plain_training(p_);
      run_all(*training, trained_);
      trained_end_ = training->end();
    }
    if (options_.keep_files && !has_draws(p_)) {
      Outcome written;
      attempt(written, [&] {
        write_for_judge(p_, {begin, plain_, trained_, trained_end_}, options_.folder);
      });
    }
    for (const Way& way : ways()) {
      if (full() || !wanted(way)) continue;
      announce_(way.name);
      run(way);
    }
    if (options_.keep_files && !has_draws(p_) && !options_.only.empty() &&
        !options_.only.count("saved")) {
      announce_("saving");
      saved_run(p_, options_.folder);
    }
    // What is wrong in a session need not be judged once more.
    if (options_.keep_files && std::any_of(found_.begin(), found_.end(), [](const Difference& d) {
          return d.way == "session" || d.way == "saved";
        }))
      std::filesystem::remove(options_.folder + "/forward.onnx");
    return std::move(found_);
  }

 private:
  bool full() const { return int(found_.size()) >= options_.most; }
  bool wanted(const Way& way) const {
    if (!options_.only.empty() && !options_.only.count(way.name)) return false;
    if (way.name == "saved" && (options_.folder.empty() || has_draws(p_))) return false;
    // Every other program for each, unless it is asked for.
    if (way.name.starts_with("compiled gradient") &&
        (!p_.has_gradient() ||
         (options_.only.empty() && (p_.seed % 2 == 1) != way.name.ends_with("deterministic"))))
      return false;
    if (way.name == "session training" && p_.clips) return false;  // minimize() does not clip
    return !way.trains || !trained_.empty();
  }
  bool bits(const Way& way, bool gradient) const {
    const bool wanted = gradient ? way.gradient_bits : way.bits;
    const bool graph = way.name != "again";
    // A graph sums what a mask picks among all elements.
    const bool sums = has_loops(p_) || has_step(p_, {"*=", "/=", "+=", "-="});
    return wanted && !(graph && (gradient || way.trains) && sums);
  }
  void run_all(Run& run, std::vector<Result>& results) {
    for (size_t c = 0; c < p_.calls.size(); ++c) results.push_back(run.call(int(c)));
  }
  void add(const Way& way, int call, const Comparison& c) {
    found_.push_back({way.name, c.kind, call, c.what});
  }

  void run(const Way& way) {
    const std::vector<Result>& plain = way.trains ? trained_ : plain_;
    Comparer comparer(p_, plain, way.trains);
    std::unique_ptr<Run> run;
    Outcome made;
    attempt(made, [&] { run = way.make(p_, options_.folder); });
    if (!run) return add(way, 0, {"error", cat("cannot be made: ", made.error, ": ", made.text)});
    bool clean = true;
    for (size_t c = 0; c < p_.calls.size(); ++c) {
      const Result r = run->call(int(c));
      for (bool gradient : {false, true}) {
        const Outcome& got = gradient ? r.gradient : r.forward;
        clean = clean && got.error.empty() && plain[c].forward.error.empty();
        const Outcome& want = gradient ? plain[c].gradient : plain[c].forward;
        if (is_limit(p_, way, got)) break;
        if (is_lenient(p_, way, want, got)) continue;
        Comparison found;
        try {
          found = comparer.outcomes(int(c), gradient, got, bits(way, gradient));
        } catch (const std::exception& e) {
          found = {"error", cat("gives what cannot be looked at: ", e.what())};
        }
        if (found.kind.empty()) continue;
        if (found.kind == "value" && way.name == "saved" && hides_infinities(p_)) continue;
        add(way, int(c), found);
        return;
      }
    }
    if (!clean) return;
    const NamedTensors end = run->end();
    if (end.empty()) return;
    const Comparison found =
        comparer.states(end, way.trains ? trained_end_ : plain_end_, bits(way, false));
    if (!found.kind.empty()) add(way, int(p_.calls.size()) - 1, found);
  }

  const Program& p_;
  const WayOptions& options_;
  const Announce& announce_;
  std::unique_ptr<Run> plain_run_;
  std::vector<Result> plain_, trained_;
  NamedTensors plain_end_, trained_end_;
  std::vector<Difference> found_;
};

}  // namespace

const std::vector<std::string>& way_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Way& w : ways()) list.push_back(w.name);
    return list;
  }();
  return names;
}

std::vector<Difference> run_ways(const Program& p, const WayOptions& options,
                                 const Announce& announce) {
  return Judgement(p, options, announce).judge();
}

}  // namespace tandem::five_ways
