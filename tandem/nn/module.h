#pragma once
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "tandem/core/by_name.h"
#include "tandem/core/modes.h"
#include "tandem/core/named_tensors.h"
#include "tandem/nn/fields.h"
#include "tandem/op/tape.h"

namespace tandem::nn {

/// What `load_state_dict` found out of place.
struct LoadReport {
  std::vector<std::string> missing;     ///< names the module has and the dictionary lacks
  std::vector<std::string> unexpected;  ///< names the dictionary has and the module lacks
};
struct LoadOptions {
  ByName by_name = ByName();
  bool strict = true;  ///< missing or unexpected names are errors
};

namespace detail {

class ForwardHook {
 public:
  virtual ~ForwardHook() = default;
  virtual void call(ModuleBase& module, Tensors& inputs, Tensors& outputs) = 0;
};
struct HookList;
/// A value: a copied module has the same hooks, and further ones are its own.
class TANDEM_API Hooks {
 public:
  Hooks();
  Hooks(const Hooks& o);
  Hooks(Hooks&& o) noexcept;
  Hooks& operator=(Hooks o) noexcept;
  ~Hooks();
  bool empty() const { return !list_; }
  int64_t add(bool before, std::shared_ptr<ForwardHook> hook);
  void remove(int64_t id);
  void run(bool before, ModuleBase& m, Tensors& inputs, Tensors& outputs) const;

 private:
  std::unique_ptr<HookList> list_;
};

/// The training mode of a module, which graphs may depend on. A copy has one of its own.
class TANDEM_API TrainingMode {
 public:
  TrainingMode();
  TrainingMode(const TrainingMode& o);
  TrainingMode(TrainingMode&& o) noexcept;
  TrainingMode& operator=(TrainingMode o) noexcept;
  ~TrainingMode();
  bool on() const { return !switch_ || switch_->on; }
  void set(bool on);
  /// Tells the graph under construction that the module is used, or its mode asked for.
  void note(bool by_value) const;

 private:
  mutable std::shared_ptr<OwnedSwitch> switch_;  ///< none in a module that was moved from
};

/// While it lives, `module_path` names the running module (only when a special mode wants it).
class TANDEM_API PathScope {
 public:
  explicit PathScope(const ModuleBase& m);
  ~PathScope();
  PathScope(const PathScope&) = delete;
  PathScope& operator=(const PathScope&) = delete;

 private:
  const char* before_ = nullptr;
  bool active_ = false;
};

}  // namespace detail

namespace detail {

/// Makes a module findable by its address while it lives.
class TANDEM_API Living {
 public:
  Living() noexcept;
  Living(const Living&) noexcept : Living() {}
  Living& operator=(const Living&) noexcept { return *this; }
  ~Living();
  /// The addresses of all, in order.
  static std::vector<const char*> all();

 private:
  Living *before_, *after_;
};

}  // namespace detail

/// What every module has, whatever its type. Copies share their tensors, as Tensor handles do;
/// `clone()` copies them.
class TANDEM_API ModuleBase {
 public:
  virtual ~ModuleBase() = default;
  ModuleBase() = default;
  ModuleBase(const ModuleBase&) = default;
  ModuleBase(ModuleBase&&) = default;
  ModuleBase& operator=(const ModuleBase&) = default;
  ModuleBase& operator=(ModuleBase&&) = default;

  /// Shows every member of the field list to `v`.
  virtual void visit(ModuleVisitor& v) = 0;
  /// "Linear"
  virtual std::string type_name() const = 0;
  /// The memory of the whole object.
  virtual std::span<const char> memory() const = 0;
  /// The same module behind a pointer to its base; shares the tensors.
  virtual std::shared_ptr<ModuleBase> copy() const = 0;

  /// Tells the graph under construction that it depends on this module.
  void note_use() const { training_.note(false); }
  bool is_training() const {
    if (tandem::detail::modes & Modes::capture) training_.note(true);
    return training_.on();
  }
  /// Behaviour for training (dropout, batch statistics) here and in all submodules.
  void set_training(bool on);

  /// Trainable tensors in the order of the field lists, each once however often it is shared.
  std::vector<Tensor> parameters() const;
  /// With their paths, "layers.0.weight".
  NamedTensors named_parameters() const;
  /// State that no gradient reaches, such as running statistics.
  std::vector<Tensor> buffers() const;
  NamedTensors named_buffers() const;
  /// This module with the path "" and all submodules, parents first.
  std::vector<std::pair<std::string, ModuleBase*>> named_modules();
  /// The direct submodules.
  std::vector<std::pair<std::string, ModuleBase*>> named_children();
  /// The submodule at a path; IndexError when there is none.
  ModuleBase& submodule(std::string_view path);

  /// Parameters and persistent buffers by path; they share memory with the module.
  NamedTensors state_dict() const;
  /// Copies values in, converted to each tensor's dtype. Nothing is written when a shape differs
  /// or, if strict, when a name is missing or unexpected; the ValueError then lists all of them.
  LoadReport load_state_dict(const NamedTensors& state, LoadOptions options = {});

  /// Number of elements in the parameters, or in those with requires_grad only.
  int64_t num_parameters(bool trainable_only = false) const;
  /// Drops the gradients, or fills them with zeros.
  void zero_grad(bool set_to_none = true);

  /// The tree of modules with parameter counts.
  std::string str() const;
  /// Calls `f(module)` for every submodule, children first, then for this one.
  template <class F>
  void apply(F f) {
    for (ModuleBase* m : children_first()) f(*m);
  }
  /// This module as an M, or null.
  template <class M>
  M* as() {
    return dynamic_cast<M*>(this);
  }

  /// Calls `f(module, inputs)` before each forward; `inputs` are the Tensor arguments and may be
  /// replaced. Gives a number for `remove_hook`.
  template <class F>
  requires std::invocable<F&, ModuleBase&, Tensors&> int64_t register_forward_pre_hook(F f) {
    struct Hook final : detail::ForwardHook {
      explicit Hook(F fn) : fn(std::move(fn)) {}
      F fn;
      void call(ModuleBase& m, Tensors& in, Tensors&) override { fn(m, in); }
    };
    return hooks_.add(true, std::make_shared<Hook>(std::move(f)));
  }
  /// Calls `f(module, inputs, outputs)` after each forward; `outputs` are the Tensor results and
  /// may be replaced.
  template <class F>
  requires std::invocable<F&, ModuleBase&, const Tensors&, Tensors&> int64_t
  register_forward_hook(F f) {
    struct Hook final : detail::ForwardHook {
      explicit Hook(F fn) : fn(std::move(fn)) {}
      F fn;
      void call(ModuleBase& m, Tensors& in, Tensors& out) override { fn(m, in, out); }
    };
    return hooks_.add(false, std::make_shared<Hook>(std::move(f)));
  }
  void remove_hook(int64_t id) { hooks_.remove(id); }

 protected:
  void convert(std::optional<DType> dtype, std::optional<Device> device);
  void set_requires_grad(bool on);
  void separate();

  template <class M, class... A>
  static decltype(auto) call(M& m, A&&... args) {
    if (m.hooks_.empty() && !(tandem::detail::modes & ~uint32_t(Modes::off_tape))) [[likely]]
      return m.forward(std::forward<A>(args)...);
    return call_watched(m, std::forward<A>(args)...);
  }

 private:
  void check_members() const;
  std::vector<ModuleBase*> children_first();

  /// An argument while hooks run: tensors are held, so that a hook can replace them.
  template <class A>
  using Held = std::conditional_t<std::is_same_v<std::decay_t<A>, Tensor>, Tensor, A&&>;

  template <class M, class... A>
  static decltype(auto) call_watched(M& m, A&&... args) {
    const detail::PathScope path(m);
    using R = decltype(m.forward(std::forward<A>(args)...));
    std::tuple<Held<A>...> held(std::forward<A>(args)...);
    Tensors in, out;
    auto forward = [&](Held<A>&... a) -> R { return m.forward(static_cast<Held<A>&&>(a)...); };
    auto each = [](auto& values, auto f) {
      auto one = [&](auto& v) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(v)>, Tensor>) f(v);
      };
      std::apply([&](auto&... v) { (one(v), ...); }, values);
    };
    auto gather = [](Tensors& list) { return [&](const Tensor& t) { list.push_back(t); }; };
    auto spread = [](Tensors& list) {
      return [&list, i = size_t(0)](Tensor& t) mutable { t = list[i++]; };
    };
    ModuleBase& erased = const_cast<ModuleBase&>(static_cast<const ModuleBase&>(m));
    each(held, gather(in));
    m.hooks_.run(true, erased, in, out);
    each(held, spread(in));
    if constexpr (std::is_void_v<R>) {
      std::apply(forward, held);
      m.hooks_.run(false, erased, in, out);
    } else {
      std::remove_cvref_t<R> result = std::apply(forward, held);
      auto whole = [&](auto f) {
        if constexpr (std::is_same_v<std::remove_cvref_t<R>, Tensor>) f(result);
        else if constexpr (requires { std::remove_cvref_t<R>::fields; })
          for_each_field(result, [&](std::string_view, auto& v) {
            if constexpr (std::is_same_v<std::remove_cvref_t<decltype(v)>, Tensor>) f(v);
          });
        else if constexpr (requires { std::tuple_size<std::remove_cvref_t<R>>::value; })
          each(result, f);
      };
      whole(gather(out));
      m.hooks_.run(false, erased, in, out);
      whole(spread(out));
      return result;
    }
  }

  detail::TrainingMode training_;
  mutable bool checked_ = false;  ///< that the list names all members
  detail::Living living_;
  detail::Hooks hooks_;
};

/// The base of a module: a struct with members and one field list.
///
///     struct Net : nn::Module<Net> {
///       nn::Linear in{1000, 100}, out{100, 10};
///       static constexpr auto fields = Fields{field("in", &Net::in), field("out", &Net::out)};
///       Tensor forward(const Tensor& x) const { return out(relu(in(x))); }
///     };
///
/// A Tensor in the list is a parameter (make it with `parameter()`), `buffer()` lists other state,
/// modules, and vectors and optionals of modules are submodules, numbers and strings are printed.
/// A name or a member that is listed twice does not compile. A module or a parameter among the
/// members that is not in the list, and a Tensor in it that is no parameter, are a ValueError when
/// the module is first asked for its tensors or set to train.
template <class Self>
class Module : public ModuleBase {
 public:
  /// Runs hooks and `forward(args...)`.
  template <class... A>
  decltype(auto) operator()(A&&... args) {
    return call(self(), std::forward<A>(args)...);
  }
  template <class... A>
  decltype(auto) operator()(A&&... args) const {
    return call(self(), std::forward<A>(args)...);
  }

  Self& train(bool on = true) {
    set_training(on);
    return self();
  }
  Self& eval() { return train(false); }
  /// Converts floating parameters, their gradients and buffers in place: optimizers keep them.
  Self& to(DType dtype) {
    convert(dtype, {});
    return self();
  }
  Self& to(Device device) {
    convert({}, device);
    return self();
  }
  Self& requires_grad_(bool on = true) {
    set_requires_grad(on);
    return self();
  }
  /// A module of its own: every tensor is copied, shared ones stay shared among the copies.
  Self clone() const {
    Self fresh(self());
    static_cast<Module&>(fresh).separate();
    return fresh;
  }

  void visit(ModuleVisitor& v) override {
    static_assert(detail::lists_each_once<Self>(), "a name or a member is in `fields` twice");
    detail::visit_fields(self(), v);
  }
  std::span<const char> memory() const override {
    return {reinterpret_cast<const char*>(&self()), sizeof(Self)};
  }
  std::string type_name() const override { return detail::type_name<Self>(); }
  std::shared_ptr<ModuleBase> copy() const override {
    if constexpr (std::is_copy_constructible_v<Self>) return std::make_shared<Self>(self());
    else throw NotImplemented(cat("copy(): a ", type_name(), " cannot be copied"));
  }

 protected:
  Self& self() { return static_cast<Self&>(*this); }
  const Self& self() const { return static_cast<const Self&>(*this); }
};

/// Marks a tensor as trainable and gives it back.
TANDEM_API Tensor parameter(Tensor t);

/// The tree of modules with parameter counts, as `str()`.
inline std::string to_string(const ModuleBase& m) { return m.str(); }
/// Writes `str()` to any stream, without including one here.
template <class Stream>
requires requires(Stream& s) { s << "" << s.width(); }
Stream& operator<<(Stream& s, const ModuleBase& m) {
  s << m.str().c_str();
  return s;
}

}  // namespace tandem::nn
