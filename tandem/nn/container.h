#pragma once
#include "tandem/nn/module.h"

namespace tandem::nn {

namespace detail {

/// A function as a module.
template <class F>
struct Lambda : Module<Lambda<F>> {
  static constexpr Fields<> fields{};
  explicit Lambda(F f) : fn(std::move(f)) {}
  Tensor forward(const Tensor& x) const { return fn(x); }
  F fn;
};
template <class T>
constexpr bool is_named = false;
template <class M>
constexpr bool is_named<std::pair<std::string, M>> = true;

}  // namespace detail

/// Any module, or any function, from one tensor to one tensor. Copies share tensors.
class TANDEM_API AnyModule {
 public:
  template <class M>
  requires(!std::is_same_v<std::remove_cvref_t<M>, AnyModule> &&
           std::is_invocable_r_v<Tensor, std::decay_t<M>&, const Tensor&>) AnyModule(M&& m) {
    using D = std::decay_t<M>;
    if constexpr (detail::is_module<D>) set<D>(std::forward<M>(m));
    else set<detail::Lambda<D>>(std::forward<M>(m));
  }
  AnyModule(const AnyModule& o) : module_(o.module_->copy()), call_(o.call_) {}
  AnyModule(AnyModule&&) noexcept = default;
  AnyModule& operator=(AnyModule o) noexcept {
    module_ = std::move(o.module_);
    call_ = o.call_;
    return *this;
  }

  Tensor operator()(const Tensor& x) const { return call_(*module_, x); }
  ModuleBase& operator*() const { return *module_; }
  ModuleBase* operator->() const { return module_.get(); }
  explicit operator bool() const { return module_ != nullptr; }
  /// The module as an M. Errors: ValueError when it is another type.
  template <class M>
  M& get() const {
    M* m = module_->as<M>();
    require(
        m != nullptr, "get(): the module is a ", [&] { return module_->type_name(); }, ", not a ",
        [] { return detail::type_name<M>(); });
    return *m;
  }

 private:
  template <class D, class M>
  void set(M&& m) {
    module_ = std::make_shared<D>(std::forward<M>(m));
    call_ = [](ModuleBase& erased, const Tensor& x) -> Tensor {
      return static_cast<D&>(erased)(x);
    };
  }

  std::shared_ptr<ModuleBase> module_;
  Tensor (*call_)(ModuleBase&, const Tensor&) = nullptr;
};

/// A module with a name of its own inside a Sequential: `named("conv1", nn::Conv2d(1, 8, 3))`.
template <class M>
std::pair<std::string, M> named(std::string name, M module) {
  return {std::move(name), std::move(module)};
}

/// Modules, or functions from tensor to tensor, applied one after the other.
///
///     nn::Sequential net{nn::Linear(1000, 100), nn::ReLU(), nn::Linear(100, 10)};
class TANDEM_API Sequential : public Module<Sequential> {
 public:
  Sequential() = default;
  template <class... M>
  requires(sizeof...(M) > 0 &&
           !(sizeof...(M) == 1 && (std::is_same_v<std::remove_cvref_t<M>, Sequential> && ...)))
      Sequential(M&&... modules) {
    items_.reserve(sizeof...(M));
    (add(std::forward<M>(modules)), ...);
  }

  Tensor forward(Tensor x) const {
    for (const Item& item : items_) x = item.module(x);
    return x;
  }

  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  void push_back(AnyModule m) { push_back(cat(items_.size()), std::move(m)); }
  /// Errors: ValueError when the name is taken.
  void push_back(std::string name, AnyModule m);
  /// Errors: IndexError.
  const AnyModule& operator[](size_t i) const;
  /// The i-th module as an M. Errors: IndexError, ValueError when it is another type.
  template <class M>
  M& at(size_t i) const {
    return (*this)[i].get<M>();
  }

  void visit(ModuleVisitor& v) override;
  static constexpr Fields<> fields{};

 private:
  struct Item {
    std::string name;
    AnyModule module;
  };
  template <class M>
  void add(M&& m) {
    if constexpr (detail::is_named<std::remove_cvref_t<M>>)
      push_back(m.first, std::forward<M>(m).second);
    else push_back(AnyModule(std::forward<M>(m)));
  }
  std::vector<Item> items_;
};

/// A list of modules of one type (or of AnyModule); the names are "0", "1"…
template <class T = AnyModule>
class ModuleList : public Module<ModuleList<T>> {
 public:
  ModuleList() = default;
  template <class... M>
  requires(sizeof...(M) > 0 &&
           (std::is_convertible_v<M, T> && ...)) explicit ModuleList(M&&... modules) {
    items_.reserve(sizeof...(M));
    (items_.push_back(std::forward<M>(modules)), ...);
  }

  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  void push_back(T module) { items_.push_back(std::move(module)); }
  template <class... A>
  T& emplace_back(A&&... args) {
    return items_.emplace_back(std::forward<A>(args)...);
  }
  T& operator[](size_t i) { return at(*this, i); }
  const T& operator[](size_t i) const { return at(*this, i); }
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }

 private:
  template <class L>
  static auto& at(L& list, size_t i) {
    require<IndexError>(i < list.items_.size(), "ModuleList: index ", i, " is out of range [0, ",
                        int64_t(list.items_.size()) - 1, "]");
    return list.items_[i];
  }
  std::vector<T> items_;

 public:
  static constexpr auto fields = Fields{field("", &ModuleList::items_)};
};

}  // namespace tandem::nn
