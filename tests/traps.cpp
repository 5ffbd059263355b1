// What a user of PyTorch writes and expects, where C++ could mean something else in silence.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/errors.h"
#include "tandem/tandem.h"

namespace {

using namespace tandem;
using tandem::testing::error_of;

template <class T>
std::vector<T> list(const Tensor& t) {
  return t.to_vector<T>();
}
using Floats = std::vector<float>;

// --- Parts --------------------------------------------------------------------------------------

TEST(Traps, APartIsATensor) {
  const Tensor x = arange(6.0).reshape(2, 3).clone();
  auto y = x[0];
  static_assert(std::is_same_v<decltype(y), Tensor>);
  static_assert(std::is_same_v<decltype(x(all, 1)), Tensor>);
  static_assert(std::is_same_v<decltype(x(none, ellipsis, range(0, 2))), Tensor>);
  EXPECT_EQ(list<float>(y + 1), (Floats{1, 2, 3}));
  EXPECT_EQ(y.sum().item<float>(), 3);
  EXPECT_EQ(y.size(0), 3);
  std::vector several{x[0], x[1]};
  EXPECT_EQ(list<float>(stack(several)[1]), (Floats{3, 4, 5}));
  EXPECT_EQ(list<float>(x.dim() == 2 ? x[1] : x), (Floats{3, 4, 5}));

  y = y * 10;  // a name is given to another tensor
  EXPECT_EQ(list<float>(x[0]), (Floats{0, 1, 2}));
  auto z = x[1];
  z += 1;  // a view is written
  EXPECT_EQ(list<float>(x[1]), (Floats{4, 5, 6}));
}

TEST(Traps, WhatHasNoNameIsWritten) {
  Tensor x = zeros(2, 3);
  x[0] = 1;
  x[1] += 2;
  x(all, 2) *= 3;
  EXPECT_EQ(list<float>(x), (Floats{1, 1, 3, 2, 2, 6}));
  x[0][1] = 7;
  x.narrow(1, 0, 1) = tensor({{5}, {6}});
  x(1, range(1, none)) = x(0, range(0, 2));
  EXPECT_EQ(list<float>(x), (Floats{5, 7, 3, 6, 5, 7}));
  x[1] = x[0];
  EXPECT_EQ(list<float>(x[1]), (Floats{5, 7, 3}));
  EXPECT_THROW(x[0] = zeros(4), ShapeError);
}

TEST(Traps, WhatAMaskPicksIsATensor) {
  Tensor x = arange(4.0);
  auto y = x[x > 1];
  EXPECT_EQ(list<float>(y + 1), (Floats{3, 4}));
  EXPECT_EQ(y.sum().item<float>(), 5);
  EXPECT_EQ(y.size(0), 2);
  EXPECT_EQ(y.max(0).indices.item<int64_t>(), 1);
  EXPECT_EQ(list<float>(relu(y)), (Floats{2, 3}));
  y = y * 10;
  EXPECT_EQ(list<float>(y), (Floats{20, 30}));
  y[0] = 1;
  y += 1;
  EXPECT_EQ(list<float>(y), (Floats{2, 31}));
  EXPECT_EQ(list<float>(x), (Floats{0, 1, 2, 3}));
  x[x > 1] = 0;
  x[x == 1] += 4;
  EXPECT_EQ(list<float>(x), (Floats{0, 5, 0, 0}));
  const Tensor rows = tensor({1, 0});
  Tensor t = zeros(2, 2);
  t(rows, 0) = tensor({1, 2});
  EXPECT_EQ(list<float>(t), (Floats{2, 0, 1, 0}));
  EXPECT_THROW(t[rows][0] = 1, IndexError);

  auto late = t[rows];
  t.zero_();
  EXPECT_EQ(error_of<IndexError>([&] { late.sum(); }),
            "index: the tensor or the index was written after the part was named; name it as "
            "Tensor y = x[index], which reads it at once");
  auto early = t[rows];
  EXPECT_EQ(early.sum().item<float>(), 0);
  t.fill_(1);
  EXPECT_EQ(early.sum().item<float>(), 0);
}

// --- Numbers ------------------------------------------------------------------------------------

TEST(Traps, NumbersHavePyTorchsDtypes) {
  EXPECT_EQ(tensor({1.0, 2.0}).dtype(), f32);
  EXPECT_EQ(tensor({1.f, 2.f}).dtype(), f32);
  EXPECT_EQ(tensor({1, 2}).dtype(), i64);
  EXPECT_EQ(tensor({true, false}).dtype(), boolean);
  EXPECT_EQ(tensor({1, 2.5}).dtype(), f32);
  EXPECT_EQ(tensor({uint8_t(1)}).dtype(), u8);
  EXPECT_EQ(tensor({1.0, 2.0}, f64).dtype(), f64);
  EXPECT_EQ(tensor({1, 2}, f32).dtype(), f32);
  EXPECT_EQ(tensor<double>({1, 2}).dtype(), f64);
  EXPECT_EQ(tensor(2.5).spec(), (Spec{{}, f32, {}}));
  EXPECT_EQ(tensor(2).spec(), (Spec{{}, i64, {}}));
  EXPECT_EQ(full({2}, 1.5).dtype(), f32);
  EXPECT_EQ(full({2}, 1).dtype(), i64);
  EXPECT_EQ(full({2}, true).dtype(), boolean);
  EXPECT_EQ(full({2}, 1, f64).dtype(), f64);
  EXPECT_EQ(arange(0.0, 1.0, 0.1).dtype(), f32);
  EXPECT_EQ(arange(0.0, 1.0, 0.1).size(0), 10);
  EXPECT_EQ(arange(3).dtype(), i64);
  EXPECT_EQ(linspace(0, 1, 5).dtype(), f32);
  // No rounding on the way to a wider type.
  EXPECT_EQ(tensor({0.1}, f64).item<double>(), 0.1);
  EXPECT_EQ(tensor({(int64_t(1) << 53) + 1}).item<int64_t>(), (int64_t(1) << 53) + 1);
  EXPECT_THROW(tensor({300}, u8), ValueError);
}

TEST(Traps, ListsOfAnyDepth) {
  EXPECT_EQ(tensor({1, 2}).shape(), (Shape{2}));
  EXPECT_EQ(tensor({{1, 2}, {3, 4}}).shape(), (Shape{2, 2}));
  EXPECT_EQ(tensor({{1, 2}}).shape(), (Shape{1, 2}));
  EXPECT_EQ(tensor({{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}).shape(), (Shape{2, 2, 2}));
  EXPECT_EQ(list<int>(tensor({{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}})),
            (std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(tensor({{{{1.5}}}}).shape(), (Shape{1, 1, 1, 1}));
  EXPECT_EQ(tensor({{{{{1}, {2}}}}}).shape(), (Shape{1, 1, 1, 2, 1}));
  EXPECT_EQ(tensor({}).shape(), (Shape{0}));
  EXPECT_EQ(error_of<ShapeError>([] {
              tensor({{1, 2}, {3}});
            }),
            "tensor(): parts of shapes [2] and [1] in one list");
  EXPECT_THROW(tensor({{1}, {{2}}}), ShapeError);
}

TEST(Traps, LengthsAndAxesWithoutBraces) {
  const Tensor x = arange(6.0).reshape(2, 3);
  EXPECT_EQ(list<float>(sum(x, 1)), (Floats{3, 12}));
  EXPECT_EQ(list<float>(x.sum(1)), (Floats{3, 12}));
  EXPECT_EQ(list<float>(x.sum({0, 1})), (Floats{15}));
  EXPECT_EQ(list<float>(max(x, 1).values), (Floats{2, 5}));
  EXPECT_EQ(list<float>(mean(x, 0)), (Floats{1.5, 2.5, 3.5}));
  EXPECT_EQ(list<float>(flip(x, 1)), (Floats{2, 1, 0, 5, 4, 3}));
  EXPECT_EQ(zeros(3).shape(), (Shape{3}));
  EXPECT_EQ(zeros(3, 4).shape(), (Shape{3, 4}));
  EXPECT_EQ(zeros(3, f64).spec(), (Spec{{3}, f64, {}}));
  EXPECT_EQ(ones(2, 3, 4).shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(randn(3, 4).shape(), (Shape{3, 4}));
  EXPECT_EQ(rand(5).shape(), (Shape{5}));
  EXPECT_EQ(empty(2, 2).shape(), (Shape{2, 2}));
  EXPECT_EQ(full(2, 1.5).shape(), (Shape{2}));
  EXPECT_EQ(randint(0, 5, 4).shape(), (Shape{4}));
  EXPECT_EQ(zeros(x.size(0), x.size(1)).shape(), (Shape{2, 3}));
  static_assert(!std::is_convertible_v<bool, Shape>);  // sum(x, true) is no sum over axis 1
}

// --- Options ------------------------------------------------------------------------------------

// A braced list is no list of options, whatever the compiler.
#define COMPILES(...)                 \
  []<class T>([[maybe_unused]] T t) { \
    return requires { __VA_ARGS__; }; \
  }(Tensor())

TEST(Traps, OptionsHaveNames) {
  EXPECT_TRUE(COMPILES(conv2d(t, t)));
  EXPECT_TRUE(COMPILES(conv2d(t, t, {}, {.padding = 1})));
  EXPECT_TRUE(COMPILES(conv2d(t, t, t, {.stride = {2, 1}, .padding = 1})));
  EXPECT_TRUE(COMPILES(conv2d(t, t, t, 2, Shape{1, 1})));
  EXPECT_FALSE(COMPILES(conv2d(t, t, t, 2, {1, 1})));
  EXPECT_FALSE(COMPILES(conv2d(t, t, t, {1})));
  EXPECT_FALSE(COMPILES(conv2d(t, t, t, {1, 2})));
  EXPECT_FALSE(COMPILES(conv2d(t, t, t, {{1, 2}})));
  EXPECT_FALSE(COMPILES(conv2d(t, t, {.padding = 1})));
  EXPECT_FALSE(COMPILES(conv1d(t, t, t, {1, 2})));
  EXPECT_FALSE(COMPILES(conv_transpose2d(t, t, t, {1, 2})));
  EXPECT_TRUE(COMPILES(max_pool2d(t, 2)));
  EXPECT_TRUE(COMPILES(max_pool2d(t, 2, 2)));
  EXPECT_TRUE(COMPILES(max_pool2d(t, {3, 2}, {.stride = 1})));
  EXPECT_FALSE(COMPILES(max_pool2d(t, 2, {1, 2})));
  EXPECT_TRUE(COMPILES(max_pool2d(t, 2, 2, 1)));
  EXPECT_FALSE(COMPILES(avg_pool2d(t, 2, {1})));
  EXPECT_FALSE(COMPILES(cross_entropy(t, t, {0.1})));
  EXPECT_TRUE(COMPILES(cross_entropy(t, t, t)));
  EXPECT_FALSE(COMPILES(nll_loss(t, t, {t})));
  EXPECT_FALSE(COMPILES(batch_norm(t, t, t, {t, t})));
  EXPECT_FALSE(COMPILES(scaled_dot_product_attention(t, t, t, {t})));
  EXPECT_FALSE(COMPILES(nn::Conv2d(t.dim(), 1, 3, {1, 2})));
  EXPECT_FALSE(COMPILES(nn::Linear(t.dim(), 1, {false})));
  EXPECT_TRUE(COMPILES(nn::Linear(t.dim(), 1, {.bias = false})));
  EXPECT_FALSE(COMPILES(compile(std::negate<T>(), {1})));
  EXPECT_FALSE(COMPILES(compile(std::negate<T>(), {1, true})));
  EXPECT_TRUE(COMPILES(compile(std::negate<T>(), {.max_captures = 1})));
  EXPECT_FALSE(COMPILES(while_loop(t, t, {t}, {5})));
  EXPECT_TRUE(COMPILES(while_loop(t, t, {t}, {.maximum_iterations = 5})));
}

void expect_same(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  EXPECT_EQ(a.to_vector<float>(), b.to_vector<float>());
}

TEST(Traps, OptionsDoWhatTheySay) {
  const Tensor x = ones(1, 1, 4, 4), w = ones(1, 1, 3, 3);
  EXPECT_EQ(conv2d(x, w, {}, {.padding = 1}).shape(), (Shape{1, 1, 4, 4}));
  EXPECT_EQ(conv2d(x, w, {}, {.stride = 2, .padding = 1}).shape(), (Shape{1, 1, 2, 2}));
  EXPECT_EQ(max_pool2d(x, 2, {.stride = 1}).shape(), (Shape{1, 1, 3, 3}));
  EXPECT_EQ(avg_pool2d(x, 2, 1).shape(), (Shape{1, 1, 3, 3}));
  // In their order they are the same options.
  const Tensor image = rand(2, 4, 9, 8), kernel = rand(6, 2, 3, 3), turned = rand(4, 3, 3, 3);
  expect_same(
      conv2d(image, kernel, {}, 2, Shape{1, 2}, 2, 2),
      conv2d(image, kernel, {}, {.stride = 2, .padding = {1, 2}, .dilation = 2, .groups = 2}));
  expect_same(
      conv_transpose2d(image, turned, {}, 2, 1, 1),
      conv_transpose2d(image, turned, {}, {.stride = 2, .padding = 1, .output_padding = 1}));
  expect_same(max_pool2d(image, 3, 2, 1), max_pool2d(image, 3, {.stride = 2, .padding = 1}));
  expect_same(avg_pool2d(image, 3, 2, 1, false, false),
              avg_pool2d(image, 3, {.stride = 2, .padding = 1, .count_include_pad = false}));
  const Tensor q = rand(2, 5, 4);
  expect_same(scaled_dot_product_attention(q, q, q, {}, 0, true),
              scaled_dot_product_attention(q, q, q, {.is_causal = true}));
  const Tensor mean = zeros(4), variance = ones(4), scale = rand(4), shift = rand(4);
  expect_same(batch_norm(image, mean, variance, scale, shift, false, 0.1, 1e-3),
              batch_norm(image, mean, variance, {.weight = scale, .bias = shift, .eps = 1e-3}));
  // log(2) of two equal logits, smoothed or not; its sum over two rows.
  const Tensor logits = zeros(2, 2), target = tensor({0, 1});
  EXPECT_NEAR(cross_entropy(logits, target, {.label_smoothing = 0.1}).item<float>(), 0.693147f,
              1e-6);
  EXPECT_NEAR(cross_entropy(logits, target, {.reduction = "sum"}).item<float>(), 1.386294f, 1e-6);
  EXPECT_NEAR(cross_entropy(logits, target, {}, -100, "sum", 0.1).item<float>(), 1.386294f, 1e-6);
  EXPECT_EQ(nll_loss(logits - 1, target, {.weight = tensor({1.0, 3.0})}).item<float>(), 1);
  EXPECT_NEAR(huber_loss(tensor({0.0, 0.0}), tensor({1.0, 5.0}), "sum", 2).item<float>(), 8.5f,
              1e-6);
}

// --- Losses, random order -----------------------------------------------------------------------

TEST(Traps, LossesOfDifferentShapesWarnOnce) {
  std::vector<std::string> said;
  set_log_sink([](LogLevel, std::string_view text,
                  void* to) { static_cast<std::vector<std::string>*>(to)->emplace_back(text); },
               &said);
  mse_loss(ones(3), ones(3));
  mse_loss(ones(3), 1.0);
  EXPECT_TRUE(said.empty());
  for (int i = 0; i < 3; ++i) mse_loss(ones(3, 1), ones(3));
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0],
            "mse_loss(): x of shape [3, 1] and a target of shape [3] are broadcast, which is "
            "seldom meant; give them one shape (this is said once)");
  l1_loss(ones(3, 1), ones(3));
  smooth_l1_loss(ones(3, 1), ones(3));
  EXPECT_EQ(said.size(), 3u);
  set_log_sink(nullptr);
}

std::vector<int64_t> order_of(auto& loader) {
  std::vector<int64_t> out;
  for (auto& batch : loader)
    for (int64_t v : batch.template to_vector<int64_t>()) out.push_back(v);
  return out;
}

TEST(Traps, RandomOrdersFollowTheSeed) {
  const auto numbers = data::TensorDataset(arange(50));
  data::DataLoader loader(numbers, {.batch_size = 10, .shuffle = true});
  manual_seed(1);
  const auto first = order_of(loader), second = order_of(loader);
  EXPECT_NE(first, second);
  manual_seed(1);
  EXPECT_EQ(order_of(loader), first);
  EXPECT_EQ(order_of(loader), second);
  manual_seed(2);
  EXPECT_NE(order_of(loader), first);

  auto half = [&] { return data::random_split(numbers, {25, 25})[0].indices(); };
  manual_seed(1);
  const auto split = half();
  EXPECT_NE(half(), split);
  manual_seed(1);
  EXPECT_EQ(half(), split);
  manual_seed(2);
  EXPECT_NE(half(), split);
}

TEST(Traps, AnEpochOfADrawnSeedGoesOn) {
  const auto numbers = data::TensorDataset(arange(50));
  const data::LoaderOptions options{.batch_size = 10, .shuffle = true};
  data::DataLoader whole(numbers, options);
  manual_seed(5);
  std::vector<int64_t> want = order_of(whole);
  for (int64_t v : order_of(whole)) want.push_back(v);

  data::DataLoader first(numbers, options);
  manual_seed(5);
  std::vector<int64_t> got;
  NamedTensors state;
  for (auto& batch : first) {
    for (int64_t v : batch.to_vector<int64_t>()) got.push_back(v);
    state = first.state_dict();
    if (got.size() == 20) break;
  }
  data::DataLoader second(numbers, options);
  second.load_state_dict(state);
  for (int k = 0; k < 2; ++k)
    for (int64_t v : order_of(second)) got.push_back(v);
  EXPECT_EQ(got, want);
}

// --- Members of modules
// ---------------------------------------------------------------------------

struct Forgot : nn::Module<Forgot> {
  nn::Linear a{2, 2}, b{2, 2};
  static constexpr auto fields = Fields{field("a", &Forgot::a)};
};
struct Outer : nn::Module<Outer> {
  nn::Linear a{2, 2};
  std::vector<Forgot> inner{2};
  static constexpr auto fields = Fields{field("a", &Outer::a), field("inner", &Outer::inner)};
};
struct Plain : nn::Module<Plain> {
  Tensor w = ones(2, 2);
  static constexpr auto fields = Fields{field("w", &Plain::w)};
};
struct NameTwice : nn::Module<NameTwice> {
  nn::Linear a{2, 2}, b{2, 2};
  static constexpr auto fields = Fields{field("a", &NameTwice::a), field("a", &NameTwice::b)};
  void visit(nn::ModuleVisitor&) override {}
};
struct MemberTwice : nn::Module<MemberTwice> {
  nn::Linear a{2, 2};
  static constexpr auto fields = Fields{field("a", &MemberTwice::a), field("b", &MemberTwice::a)};
  void visit(nn::ModuleVisitor&) override {}
};
struct Tied : nn::Module<Tied> {
  nn::Linear a{2, 2};
  Tensor again = a.weight, cache = zeros(2);
  static constexpr auto fields = Fields{field("a", &Tied::a)};
};

TEST(Traps, MembersThatTheListLacks) {
  const char* linear = "Forgot: its list of fields lacks a member that is a Linear";
  EXPECT_EQ(error_of<ValueError>([] { Forgot().parameters(); }), linear);
  EXPECT_EQ(error_of<ValueError>([] { Forgot().clone(); }), linear);
  EXPECT_EQ(error_of<ValueError>([] { Forgot().state_dict(); }), linear);
  EXPECT_EQ(error_of<ValueError>([] { Forgot().eval(); }), linear);
  EXPECT_EQ(error_of<ValueError>([] {
              Forgot f;
              optim::SGD sgd(f, {.lr = 1});
            }),
            linear);
  EXPECT_EQ(error_of<ValueError>([] { Outer().parameters(); }), linear);
  EXPECT_EQ(error_of<ValueError>([] { Plain().parameters(); }),
            "Plain: the member w is no parameter; make it with nn::parameter(), or list it with "
            "buffer()");
  EXPECT_EQ(Tied().parameters().size(), 2u);
  Plain frozen;
  frozen.w = nn::parameter(ones(2, 2));
  frozen.w.requires_grad_(false);
  EXPECT_EQ(frozen.clone().parameters().size(), 1u);
  static_assert(!nn::detail::lists_each_once<NameTwice>());
  static_assert(!nn::detail::lists_each_once<MemberTwice>());
  static_assert(nn::detail::lists_each_once<Forgot>());
  nn::Linear held(2, 2);
  nn::Sequential net{[held](const Tensor& x) { return held(x); }};
  EXPECT_EQ(error_of<ValueError>([&] { net.parameters(); }),
            "Lambda: its list of fields lacks a member that is a Linear");
}

}  // namespace
