// Functions that take tensors, called with an undefined one, or with one on the null device beside
// others: a typed error, or a result without values, never a read of memory that is not there. The
// records themselves are tried in op_suite.cpp.
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tandem/tandem.h"
#include "tests/support/folder.h"

namespace {

using namespace tandem;

struct Call {
  const char* name;
  std::function<void(const Tensor&)> f;  ///< with the tensor in question in one place
};

Tensor x() { return ones({2, 3}); }

std::vector<Call> calls() {
  const auto file = std::make_shared<tandem::testing::TemporaryFolder>();
  return {
      {"stack",
       [](const Tensor& t) {
         stack({x(), t});
       }},
      {"cat",
       [](const Tensor& t) {
         cat({x(), t, x()});
       }},
      {"stack alone", [](const Tensor& t) { stack({t}); }},
      {"x + t", [](const Tensor& t) { x() + t; }},
      {"t + 1", [](const Tensor& t) { t + 1.0; }},
      {"x += t",
       [](const Tensor& t) {
         Tensor y = x();
         y += t;
       }},
      {"t += x",
       [](const Tensor& t) {
         Tensor y = t;
         y += x();
       }},
      {"copy_", [](const Tensor& t) { x().copy_(t); }},
      {"where", [](const Tensor& t) { where(x() > 0.0, x(), t); }},
      {"where condition", [](const Tensor& t) { where(t, x(), x()); }},
      {"index", [](const Tensor& t) { index(t, {ones({1}, i64)}); }},
      {"index by",
       [](const Tensor& t) {
         index(x(), {ones({1}, i64), t});
       }},
      {"index_put", [](const Tensor& t) { index_put(x(), {ones({1}, i64)}, t); }},
      {"index_put_", [](const Tensor& t) { index_put_(t, Inputs(), x()); }},
      {"x[t]", [](const Tensor& t) { Tensor y = x()[t]; }},
      {"x[0] = t",
       [](const Tensor& t) {
         Tensor y = x();
         y[0] = t;
       }},
      {"masked_select", [](const Tensor& t) { masked_select(x(), t); }},
      {"nonzero", [](const Tensor& t) { nonzero(t); }},
      {"nonzero_as_tuple", [](const Tensor& t) { nonzero_as_tuple(t); }},
      {"one_hot", [](const Tensor& t) { one_hot(t); }},
      {"split", [](const Tensor& t) { split(t, 1); }},
      {"unbind", [](const Tensor& t) { unbind(t); }},
      {"chunk", [](const Tensor& t) { chunk(t, 2); }},
      {"tile", [](const Tensor& t) { tile(t, {2}); }},
      {"flatten", [](const Tensor& t) { flatten(t); }},
      {"squeeze", [](const Tensor& t) { squeeze(t); }},
      {"sum_to", [](const Tensor& t) { sum_to(t, {3}); }},
      {"matmul", [](const Tensor& t) { matmul(x(), t); }},
      {"linear", [](const Tensor& t) { linear(x(), t); }},
      {"linear bias", [](const Tensor& t) { linear(x(), x(), t); }},
      {"embedding", [](const Tensor& t) { embedding(t, x()); }},
      {"batch_norm", [](const Tensor& t) { batch_norm(x(), t, t, {.weight = t, .bias = t}); }},
      {"layer_norm", [](const Tensor& t) { layer_norm(x(), {3}, t, t); }},
      {"attention", [](const Tensor& t) { scaled_dot_product_attention(x(), t, x()); }},
      {"attention mask",
       [](const Tensor& t) { scaled_dot_product_attention(x(), x(), x(), {.attn_mask = t}); }},
      {"cross_entropy", [](const Tensor& t) { cross_entropy(x(), t); }},
      {"mse_loss", [](const Tensor& t) { mse_loss(x(), t); }},
      {"dropout", [](const Tensor& t) { dropout(t); }},
      {"bernoulli", [](const Tensor& t) { bernoulli(t); }},
      {"bernoulli_", [](const Tensor& t) { bernoulli_(t); }},
      {"uniform_", [](const Tensor& t) { uniform_(t); }},
      {"multinomial", [](const Tensor& t) { multinomial(t, 1, true); }},
      {"rand_like", [](const Tensor& t) { rand_like(t); }},
      {"zeros_like", [](const Tensor& t) { zeros_like(t); }},
      {"full_like", [](const Tensor& t) { full_like(t, 2); }},
      {"conv2d",
       [](const Tensor& t) {
         conv2d(ones({1, 1, 3, 3}), t);
       }},
      {"max_pool2d", [](const Tensor& t) { max_pool2d(t, 2); }},
      {"rnn",
       [](const Tensor& t) {
         rnn(ones({2, 1, 3}), ones({1, 1, 3}), std::vector<Tensor>{t, t, t, t});
       }},
      {"to_vector", [](const Tensor& t) { t.to_vector<double>(); }},
      {"item", [](const Tensor& t) { t.item<double>(); }},
      {"span", [](const Tensor& t) { t.span<float>(); }},
      {"size", [](const Tensor& t) { t.size(0); }},
      {"print", [](const Tensor& t) { to_string(t); }},
      {"backward", [](const Tensor& t) { t.backward(); }},
      {"backward of", [](const Tensor& t) { backward(std::vector<Tensor>{t}); }},
      {"backward from",
       [](const Tensor& t) {
         Tensor y = x();
         y.requires_grad_();
         (y * 2).backward(t);
       }},
      {"grad",
       [](const Tensor& t) {
         Tensor y = x();
         y.requires_grad_();
         grad(std::vector<Tensor>{y.sum()}, std::vector<Tensor>{y, t});
       }},
      {"set_grad", [](const Tensor& t) { x().set_grad(t); }},
      {"tape",
       [](const Tensor& t) {
         GradientTape tape;
         tape.watch(t);
       }},
      {"sgd", [](const Tensor& t) { optim::SGD({t}, {.lr = 1}).step(); }},
      {"clip_grad_norm_",
       [](const Tensor& t) {
         optim::clip_grad_norm_({x(), t}, 1);
       }},
      {"clip_grad_value_", [](const Tensor& t) { optim::clip_grad_value_({t}, 1); }},
      {"constant_", [](const Tensor& t) { nn::init::constant_(t, 1); }},
      {"orthogonal_", [](const Tensor& t) { nn::init::orthogonal_(t); }},
      {"kaiming_normal_", [](const Tensor& t) { nn::init::kaiming_normal_(t); }},
      {"module",
       [](const Tensor& t) {
         nn::Linear l(3, 2);
         l(t);
       }},
      {"sequential",
       [](const Tensor& t) {
         nn::Sequential s{nn::Linear(3, 2), nn::ReLU()};
         s(t);
       }},
      {"load_state_dict",
       [](const Tensor& t) {
         nn::Linear l(3, 2);
         l.load_state_dict({{"weight", t}, {"bias", t}});
       }},
      {"compiled",
       [](const Tensor& t) { compile([](const Tensor& a) { return relu(a * 2 + 1); })(t); }},
      {"compiled with",
       [](const Tensor& t) { compile([t](const Tensor& a) { return a + t; })(x()); }},
      {"cond",
       [](const Tensor& t) {
         cond(
             t, [] { return x(); }, [] { return x(); });
       }},
      {"map_fn", [](const Tensor& t) { map_fn([](const Tensor& e) { return e * 2; }, t); }},
      {"scan",
       [](const Tensor& t) {
         scan([](const Tensor& a, const Tensor& e) { return a + e; }, x(), t);
       }},
      {"while_loop",
       [](const Tensor& t) {
         while_loop([](const Tensor& a) { return a.sum() < 0.0; },
                    [](const Tensor& a) { return a; }, {t});
       }},
      {"graph output", [](const Tensor& t) { Graph::make()->output("y", t); }},
      {"session",
       [](const Tensor& t) {
         auto g = Graph::make();
         Tensor p;
         {
           const GraphScope scope(g);
           p = placeholder("p", {2, 3});
         }
         Session(g).run(p * 2, {{p, t}});
       }},
      {"save_npy", [file](const Tensor& t) { save_npy(*file / "a.npy", t); }},
      {"save_safetensors",
       [file](const Tensor& t) {
         save_safetensors(*file / "a.st", {{"w", t}});
       }},
      {"collate",
       [](const Tensor& t) {
         std::vector<Tensor> s{x(), t};
         data::collate(s);
       }},
      {"dataset", [](const Tensor& t) { data::TensorDataset d(x(), t); }},
      {"flip",
       [](const Tensor& t) {
         data::Random r(1, 0);
         data::RandomHorizontalFlip{1}(t, r);
       }},
      {"histogram",
       [file](const Tensor& t) { SummaryWriter(file->path).add_histogram("h", t, 1); }},
      {"generator", [](const Tensor& t) { default_generator().set_state(t); }},
  };
}

TEST(Misplaced, AnUndefinedTensorIsATypedError) {
  // What may be left out: no history, no bias, no mask, no gradient.
  const std::set<std::string> may_be{"index by",      "linear bias", "layer_norm", "attention mask",
                                     "backward from", "set_grad",    "print"};
  for (const Call& c : calls()) {
    std::string what = "no error";
    try {
      c.f(Tensor());
    } catch (const Error& e) {
      what = "";
      EXPECT_STRNE(e.what(), "") << c.name;
    } catch (const std::exception& e) {
      what = e.what();
    }
    EXPECT_EQ(may_be.count(c.name) ? std::string() : what, "") << c.name;
  }
}

TEST(Misplaced, TheNullDeviceHasNoValues) {
  for (const Call& c : calls())
    for (const DType d : {f32, i64, boolean}) {
      try {
        c.f(empty({2, 3}, d, null_device));
      } catch (const Error&) {
      } catch (const std::exception& e) {
        ADD_FAILURE() << c.name << ": " << e.what();
      }
    }
}

TEST(Misplaced, OnTheNullDeviceOnlyShapesAreComputed) {
  nn::Sequential net{nn::Conv2d(3, 8, 3), nn::BatchNorm2d(8), nn::ReLU(), nn::Flatten(),
                     nn::Linear(8 * 36, 4)};
  net.to(null_device);
  optim::Adam optimizer(net, {.lr = 0.1});
  const Tensor in = empty({2, 3, 8, 8}, f32, null_device);
  auto step = [&](const Tensor& a) {
    Tensor loss = square(net(a)).mean();
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    return loss.detach();
  };
  const Tensor eager = step(in), compiled = compile(step)(in);
  for (const Tensor& t : {eager, compiled}) {
    EXPECT_EQ(t.shape(), Shape{});
    EXPECT_EQ(t.device(), null_device);
  }
  EXPECT_EQ(net.parameters()[0].grad().device(), null_device);
}

}  // namespace
