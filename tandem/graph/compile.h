#pragma once
#include <array>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tandem/core/by_name.h"
#include "tandem/core/modes.h"
#include "tandem/core/tensor.h"
#include "tandem/op/fields.h"

namespace tandem {

namespace graph {
class Graph;
}

struct CompileOptions {
  ByName by_name = ByName();
  /// How many captures there may be. Calls that need a further one run as plain code, with a
  /// warning at the first (core/log.h) and a count in explain().
  int max_captures = 64;
  /// They throw an Error that gives the reason instead; no call runs as plain code then.
  bool throw_beyond = false;
  /// A recording for every new length at once. Otherwise lengths and numbers that keep changing are
  /// recorded only as fast as it pays: other calls run as plain code, so that calls together take
  /// a few times as long as plain ones at most, however many lengths there are.
  bool every_length = false;
  /// The kernels of eager code in its order: results are bit for bit those of the plain function.
  bool deterministic = false;
};

namespace detail {

/// A type-erased look at an argument or a result: its tensors, and a key for everything else.
class TANDEM_API Leaves {
 public:
  Tensors tensors;
  std::string key;  ///< the values of arguments that are not tensors

  void add(const Tensor& t) { tensors.push_back(t); }
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void add(const T& v) { key.append(reinterpret_cast<const char*>(&v), sizeof v); }
  void add(const std::string& s) { key += s + '\0'; }
};

/// How an argument or a result is kept: `x[0]` as the tensor that it is.
template <class T>
using Kept = std::conditional_t<std::is_same_v<std::remove_cvref_t<T>, Indexed>, Tensor,
                                std::remove_cvref_t<T>>;

template <class T>
concept HasFields = requires {
  T::fields;
};
template <class T>
concept TupleLike = requires {
  std::tuple_size<T>::value;
};

/// Calls f on every tensor, number and string inside `v`: tensors, lists, pairs, tuples, optionals,
/// and structs with a `fields` list. The order is that of the declaration.
template <class T, class F>
void each_leaf(T& v, F& f) {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, Tensor> || std::is_arithmetic_v<U> || std::is_enum_v<U> ||
                std::is_same_v<U, std::string>) {
    f(v);
  } else if constexpr (requires { v.has_value(); }) {
    bool has = v.has_value();
    f(has);
    if (has) each_leaf(*v, f);
  } else if constexpr (HasFields<U>) {
    apply_fields([&](const auto&... field) { (each_leaf(v.*(field.ptr), f), ...); }, U::fields);
  } else if constexpr (TupleLike<U>) {
    std::apply([&](auto&... e) { (each_leaf(e, f), ...); }, v);
  } else {
    static_assert(
        requires { v.begin(); },
        "compile() takes tensors, numbers, strings, lists, "
        "pairs, tuples, optionals and structs with fields");
    int64_t n = int64_t(v.size());
    f(n);
    for (auto& e : v) each_leaf(e, f);
  }
}

/// What is not a template of a compiled function.
class TANDEM_API CompiledFunction {
 public:
  /// Runs the function on symbolic tensors: fills `results`, and gives what it returned without
  /// its tensors.
  struct Trace {
    virtual std::shared_ptr<const void> run(const Tensors& inputs, Tensors& results) = 0;

   protected:
    ~Trace() = default;
  };
  CompiledFunction(CompileOptions options, CallSite where);
  ~CompiledFunction();
  CompiledFunction(const CompiledFunction&) = delete;
  CompiledFunction& operator=(const CompiledFunction&) = delete;

  /// The results for `inputs`, and what the trace of their capture gave.
  std::pair<Tensors, std::shared_ptr<const void>> call(const Leaves& inputs, Trace& trace);
  int captures() const;
  std::vector<std::string> reasons() const;
  std::shared_ptr<const graph::Graph> graph(size_t capture) const;
  std::shared_ptr<const graph::Graph> graph_for_all_lengths(size_t capture) const;
  std::string explain() const;
  void set_profile(bool on);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace detail

/// A function captured as a graph at its first call and replayed from then on; made by compile().
template <class F>
class Compiled {
 public:
  Compiled(F f, CompileOptions options, CallSite where)
      : f_(std::move(f)), core_(std::make_shared<detail::CompiledFunction>(options, where)) {}

  template <class... A>
  auto operator()(A&&... arguments) {
    using R = detail::Kept<std::invoke_result_t<F&, detail::Kept<A>&...>>;
    // Inside another function under capture it is ordinary code.
    if (detail::modes & Modes::capture) return R(f_(arguments...));
    std::tuple<detail::Kept<A>...> own(arguments...);
    detail::Leaves in;
    auto look = [&](auto& leaf) { in.add(leaf); };
    detail::each_leaf(own, look);
    struct Tracer final : detail::CompiledFunction::Trace {
      Compiled& self;
      std::tuple<detail::Kept<A>...>& own;
      Tracer(Compiled& s, std::tuple<detail::Kept<A>...>& o) : self(s), own(o) {}
      std::shared_ptr<const void> run(const Tensors& inputs, Tensors& results) override {
        auto symbolic = own;
        size_t i = 0;
        auto put = [&](auto& leaf) {
          if constexpr (std::is_same_v<std::remove_cvref_t<decltype(leaf)>, Tensor>)
            leaf = inputs[i++];
        };
        detail::each_leaf(symbolic, put);
        if constexpr (std::is_void_v<R>) {
          std::apply(self.f_, symbolic);
          return nullptr;
        } else {
          auto result = std::make_shared<R>(std::apply(self.f_, symbolic));
          auto take = [&](auto& leaf) {
            if constexpr (std::is_same_v<std::remove_cvref_t<decltype(leaf)>, Tensor>) {
              results.push_back(leaf);
              leaf = Tensor();
            }
          };
          detail::each_leaf(*result, take);
          return result;
        }
      }
    } tracer(*this, own);
    const auto called = core_->call(in, tracer);
    const Tensors& out = called.first;
    if constexpr (!std::is_void_v<R>) {
      R result = *static_cast<const R*>(called.second.get());
      size_t i = 0;
      auto put = [&](auto& leaf) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(leaf)>, Tensor>) leaf = out[i++];
      };
      detail::each_leaf(result, put);
      return result;
    }
  }

  /// How many graphs were captured; a batch of another size is none.
  int captures() const { return core_->captures(); }
  /// Why each capture was made.
  std::vector<std::string> reasons() const { return core_->reasons(); }
  /// The captured graph; lengths that have differed between calls are unknown ones, where one graph
  /// explains all calls. Errors: IndexError.
  std::shared_ptr<const graph::Graph> graph(size_t capture = 0) const {
    return core_->graph(capture);
  }
  /// The same, as save() writes it. Errors: LengthError when no graph stands for all lengths.
  std::shared_ptr<const graph::Graph> graph_for_all_lengths(size_t capture = 0) const {
    return core_->graph_for_all_lengths(capture);
  }
  /// The plans as text: steps, fused groups, bytes, and the time of each step when there were calls
  /// under set_profile(true).
  std::string explain() const { return core_->explain(); }
  /// While on, calls measure their steps, which costs some 50 ns a step, and explain() shows the
  /// means. Switching it on begins anew.
  void set_profile(bool on) { core_->set_profile(on); }

 private:
  F f_;
  std::shared_ptr<detail::CompiledFunction> core_;
};

/// Captures `f` at its first call: everything that it computes from its tensors, backward passes
/// and optimizer steps included, becomes one optimised graph that later calls replay. What it reads
/// from outside is read anew by every call; what it writes in place is written by every call.
/// Arguments and results may be tensors, numbers, lists, tuples and structs with a `fields` list.
/// A module: compile(model) runs its forward.
/// Reading a value inside `f` is an error, since there is none yet.
template <class F>
auto compile(F&& f, CompileOptions options = {}, CallSite where = CallSite::current()) {
  if constexpr (requires { f.state_dict(); }) {
    auto call = [&f](const auto&... x) { return f(x...); };
    return Compiled<decltype(call)>(std::move(call), options, where);
  } else {
    return Compiled<std::decay_t<F>>(std::forward<F>(f), options, where);
  }
}

}  // namespace tandem
