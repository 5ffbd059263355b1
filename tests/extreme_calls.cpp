// Functions and members of Tensor that take sizes, counts, axes and places, with numbers as far
// from their use as 64 bits go. What comes out is what PyTorch or NumPy gives, or an error that
// names the function: never a crash, a wrapped number, a long wait, or much memory.
// tests/extreme_numbers.cpp does the same to every record.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tandem/tandem.h"
#include "tests/support/extremes.h"

namespace tandem::testing {

int refused_requests() { return 0; }

namespace {

struct Call {
  std::string names;  ///< one of which errors have: "view|reshape"
  std::function<Tensors(int64_t)> f;
};

Tensor counted(const Shape& shape) { return reshape(arange(shape.numel()), shape); }
Tensor floats(const Shape& shape) { return counted(shape).to(f32); }
Tensors list(const Tensor& t) { return {t}; }

/// Memory of three numbers, looked at with strides.
Tensor looked(const Shape& shape, const Strides& strides) {
  static double memory[3] = {1, 2, 3};
  return wrap(memory, shape, f64, {}, strides);
}

const Call calls[] = {
    {"zeros", [](int64_t v) { return list(zeros({v})); }},
    {"zeros",
     [](int64_t v) {
       return list(zeros({2, v}));
     }},
    {"zeros",
     [](int64_t v) {
       return list(zeros({v, 0}));
     }},
    {"zeros",
     [](int64_t v) {
       return list(zeros({0, v, v}));
     }},
    {"zeros",
     [](int64_t v) {
       return list(zeros({v, v, v}));
     }},
    {"ones|full",
     [](int64_t v) {
       return list(ones({v, 3}));
     }},
    {"full",
     [](int64_t v) {
       return list(full({v, v}, 1.5));
     }},
    {"empty",
     [](int64_t v) {
       return list(empty({v, v}, i8));
     }},
    {"empty", [](int64_t v) { return list(floats({2}).new_empty({v})); }},
    {"rand|random", [](int64_t v) { return list(rand({v})); }},
    {"randn|random",
     [](int64_t v) {
       return list(randn({v, 2}));
     }},
    {"randint|random", [](int64_t v) { return list(randint(0, 5, {v})); }},
    {"randint|random", [](int64_t v) { return list(randint(v, 5, {2})); }},
    {"randint|random", [](int64_t v) { return list(randint(0, v, {2})); }},
    {"randperm", [](int64_t v) { return list(randperm(v)); }},
    {"multinomial", [](int64_t v) { return list(multinomial(ones({3}), v, true)); }},
    {"multinomial", [](int64_t v) { return list(multinomial(ones({3}), v, false)); }},
    {"arange", [](int64_t v) { return list(arange(v)); }},
    {"arange", [](int64_t v) { return list(arange(v, 5)); }},
    {"arange", [](int64_t v) { return list(arange(0, v, 3)); }},
    {"arange", [](int64_t v) { return list(arange(0, 10, v)); }},
    {"arange", [](int64_t v) { return list(arange(0, 10.5, v)); }},
    {"linspace", [](int64_t v) { return list(linspace(0, 1, v)); }},
    {"eye", [](int64_t v) { return list(eye(v)); }},
    {"eye", [](int64_t v) { return list(eye(2, v)); }},
    {"eye", [](int64_t v) { return list(eye(v, 0)); }},
    {"one_hot", [](int64_t v) { return list(one_hot(counted({3}), v)); }},
    {"one_hot", [](int64_t v) { return list(one_hot(full({2}, v, i64))); }},
    {"tril",
     [](int64_t v) {
       return list(counted({2, 3}).tril(v));
     }},
    {"triu",
     [](int64_t v) {
       return list(counted({2, 3}).triu(v));
     }},
    {"view|reshape",
     [](int64_t v) {
       return list(counted({2, 3}).view({v, 3}));
     }},
    {"view|reshape",
     [](int64_t v) {
       return list(zeros({0}).view({v, 0}));
     }},
    {"reshape",
     [](int64_t v) {
       return list(counted({2, 3}).reshape({v, 3}));
     }},
    {"reshape",
     [](int64_t v) {
       return list(counted({2, 3}).reshape({v, v}));
     }},
    {"reshape",
     [](int64_t v) {
       return list(counted({2, 3}).reshape({-1, v}));
     }},
    {"reshape",
     [](int64_t v) {
       return list(zeros({0}).reshape({0, v, v}));
     }},
    {"unflatten",
     [](int64_t v) {
       return list(counted({6}).unflatten(0, {v, 3}));
     }},
    {"unflatten",
     [](int64_t v) {
       return list(counted({6}).unflatten(0, {-1, v}));
     }},
    {"expand",
     [](int64_t v) {
       return list(counted({1, 3}).expand({v, 3}));
     }},
    {"expand",
     [](int64_t v) {
       return list(counted({1, 3}).expand({v, 1, 3}));
     }},
    {"repeat",
     [](int64_t v) {
       return list(counted({2, 3}).repeat({v, 1}));
     }},
    {"repeat",
     [](int64_t v) {
       return list(counted({2, 3}).repeat({v, v, v}));
     }},
    {"repeat",
     [](int64_t v) {
       return list(counted({2, 3}).repeat({0, v}));
     }},
    {"repeat_interleave|reshape",
     [](int64_t v) { return list(counted({3}).repeat_interleave(v)); }},
    {"repeat_interleave|reshape",
     [](int64_t v) {
       return list(counted({2, 3}).repeat_interleave(v, 1));
     }},
    {"repeat_interleave|reshape",
     [](int64_t v) { return list(counted({2}).repeat_interleave(full({2}, v, i64))); }},
    {"tile|repeat",
     [](int64_t v) {
       return list(counted({2, 3}).tile({v}));
     }},
    {"tile|repeat",
     [](int64_t v) {
       return list(counted({2, 3}).tile({v, v, 1}));
     }},
    {"narrow", [](int64_t v) { return list(counted({5}).narrow(0, v, 1)); }},
    {"narrow", [](int64_t v) { return list(counted({5}).narrow(0, 1, v)); }},
    {"slice", [](int64_t v) { return list(slice(counted({5}), 0, 0, 3, v)); }},
    {"slice", [](int64_t v) { return list(slice(counted({5}), v)); }},
    {"select", [](int64_t v) { return list(counted({5}).select(0, v)); }},
    {"select", [](int64_t v) { return list(select(counted({5}), v, 0)); }},
    {"unfold", [](int64_t v) { return list(counted({5}).unfold(0, v, 1)); }},
    {"unfold", [](int64_t v) { return list(counted({5}).unfold(0, 2, v)); }},
    {"diagonal",
     [](int64_t v) {
       return list(counted({3, 4}).diagonal(v));
     }},
    {"split", [](int64_t v) { return counted({5}).split(v); }},
    {"split",
     [](int64_t v) {
       return counted({5}).split({Length(v), 1});
     }},
    {"split",
     [](int64_t v) {
       return counted({5}).split({Length(v), Length(v), Length(5)});
     }},
    {"split", [](int64_t v) { return split(counted({5}), 1, v); }},
    {"chunk", [](int64_t v) { return counted({5}).chunk(v); }},
    {"chunk", [](int64_t v) { return counted({0}).chunk(v); }},
    {"chunk", [](int64_t v) { return chunk(counted({5}), 2, v); }},
    {"split", [](int64_t v) { return split(counted({0}), 1, v); }},
    {"unbind", [](int64_t v) { return unbind(counted({0}), v); }},
    {"unbind", [](int64_t v) { return unbind(counted({5}), v); }},
    {"movedim|permute",
     [](int64_t v) {
       return list(counted({2, 3}).movedim(v, 0));
     }},
    {"permute",
     [](int64_t v) {
       return list(counted({2, 3}).permute({v, 0}));
     }},
    {"flip",
     [](int64_t v) {
       return list(counted({2, 3}).flip({v}));
     }},
    {"roll",
     [](int64_t v) {
       return list(counted({2, 3}).roll({1}, {v}));
     }},
    {"pad",
     [](int64_t v) {
       return list(pad(counted({5}), {v, 0}));
     }},
    {"pad",
     [](int64_t v) {
       return list(pad(counted({5}), {v, v}));
     }},
    {"pad",
     [](int64_t v) {
       return list(pad(floats({1, 5}), {1, v}, "reflect"));
     }},
    {"cat",
     [](int64_t v) {
       return list(cat({counted({2}), counted({2})}, v));
     }},
    {"stack",
     [](int64_t v) {
       return list(stack({counted({2}), counted({2})}, v));
     }},
    {"sum",
     [](int64_t v) {
       return list(counted({2, 3}).sum({v}));
     }},
    {"topk", [](int64_t v) { return list(counted({5}).topk(v).values); }},
    {"gather", [](int64_t v) { return list(gather(counted({5}), 0, full({1}, v, i64))); }},
    {"index_select",
     [](int64_t v) { return list(index_select(counted({5}), 0, full({1}, v, i64))); }},
    {"scatter",
     [](int64_t v) { return list(scatter(counted({5}), 0, full({1}, v, i64), counted({1}))); }},
    {"embedding",
     [](int64_t v) {
       return list(embedding(full({1}, v, i64), floats({3, 2})));
     }},
    {"nll_loss",
     [](int64_t v) {
       return list(nll_loss(floats({1, 3}), full({1}, v, i64)));
     }},
    {"conv2d",
     [](int64_t v) {
       return list(conv2d(floats({1, 2, 4, 4}), floats({2, 2, 2, 2}), {}, {.stride = v}));
     }},
    {"conv2d",
     [](int64_t v) {
       return list(conv2d(floats({1, 2, 4, 4}), floats({2, 2, 2, 2}), {}, {.padding = {0, v}}));
     }},
    {"conv2d",
     [](int64_t v) {
       return list(
           conv2d(floats({1, 2, 4, 4}), floats({2, 2, 2, 2}), {}, {.padding = v, .dilation = v}));
     }},
    {"conv2d",
     [](int64_t v) {
       return list(conv2d(floats({1, 2, 4, 4}), floats({2, 2, 2, 2}), {}, {.groups = v}));
     }},
    {"conv1d",
     [](int64_t v) {
       return list(conv1d(floats({1, 2, 4}), floats({2, 2, 2}), {}, {.dilation = v}));
     }},
    {"conv_transpose2d",
     [](int64_t v) {
       return list(conv_transpose2d(floats({1, 2, 4, 4}), floats({2, 2, 2, 2}), {},
                                    {.stride = v, .output_padding = v}));
     }},
    {"max_pool2d",
     [](int64_t v) {
       return list(max_pool2d(floats({1, 2, 4, 4}), {v, 2}));
     }},
    {"max_pool2d",
     [](int64_t v) {
       return list(max_pool2d(floats({1, 2, 4, 4}), 2, {.stride = v, .ceil_mode = true}));
     }},
    {"avg_pool2d",
     [](int64_t v) {
       return list(avg_pool2d(floats({1, 2, 4, 4}), 2, {.padding = v}));
     }},
    {"adaptive_avg_pool2d",
     [](int64_t v) {
       return list(adaptive_avg_pool2d(floats({1, 2, 4, 4}), {v, 1}));
     }},
    {"wrap", [](int64_t v) { return list(looked({v}, {})); }},
    {"wrap",
     [](int64_t v) {
       return list(looked({v, v}, {}));
     }},
    {"wrap", [](int64_t v) { return list(looked({2}, {v})); }},
    {"wrap",
     [](int64_t v) {
       return list(looked({2, 2}, {v, v}));
     }},
    {"wrap",
     [](int64_t v) {
       return list(looked({v, 2}, {v, 1}));
     }},
    {"wrap",
     [](int64_t v) {
       return list(wrap(std::vector<double>{1, 2}, {v}));
     }},
};

bool names_one_of(std::string_view names, const std::string& error) {
  while (!names.empty()) {
    const size_t end = std::min(names.find('|'), names.size());
    if (error.find(names.substr(0, end)) != std::string::npos) return true;
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return false;
}

TEST(ExtremeCalls, GiveSmallResultsOrErrors) {
  manual_seed(1);
  for (const Call& call : calls)
    for (const int64_t v : extremes) {
      SCOPED_TRACE(cat(call.names, " number ", &call - calls, " of ", v));
      const Outcome o = outcome_of([&] { return call.f(v); });
      EXPECT_EQ(o.wrong, "");
      // A number that no length can be is refused before the call.
      if (o.error == cat("lengths: ", v, " is out of range")) continue;
      EXPECT_TRUE(o.error.empty() || names_one_of(call.names, o.error)) << o.error;
    }
}

/// What Python makes of a bound for n elements.
int64_t bound(int64_t i, int64_t n) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); }
std::vector<int64_t> numbers(int64_t from, int64_t to, int64_t step = 1) {
  std::vector<int64_t> all;
  for (; from<to; from = step> to - from ? to : from + step) all.push_back(from);
  return all;
}

TEST(ExtremeCalls, SlicesAreThoseOfPython) {
  const Tensor x = counted({5});
  for (const int64_t v : extremes) {
    if (v == -(int64_t(3) << 61)) continue;  // no length
    SCOPED_TRACE(v);
    EXPECT_EQ(slice(x, 0, v).to_vector<int64_t>(), numbers(bound(v, 5), 5));
    EXPECT_EQ(slice(x, 0, {}, v).to_vector<int64_t>(), numbers(0, bound(v, 5)));
    EXPECT_EQ(slice(x, 0, -3, v).to_vector<int64_t>(), numbers(2, bound(v, 5)));
    if (v > 0) {
      EXPECT_EQ(slice(x, 0, 1, {}, v).to_vector<int64_t>(), numbers(1, 5, v));
    }
    // In a graph that does not know the length.
    const auto graph = Graph::make();
    Tensor in, from, to, by;
    {
      const GraphScope scope(graph);
      in = placeholder("x", {-1}, i64);
      from = slice(in, 0, v);
      to = slice(in, 0, {}, v);
      by = slice(in, 0, 1, {}, std::max<int64_t>(v, 1));
    }
    Session session(graph);
    const auto out = session.run({from, to, by}, {{in, x}});
    EXPECT_EQ(out[0].to_vector<int64_t>(), numbers(bound(v, 5), 5));
    EXPECT_EQ(out[1].to_vector<int64_t>(), numbers(0, bound(v, 5)));
    EXPECT_EQ(out[2].to_vector<int64_t>(), numbers(1, 5, std::max<int64_t>(v, 1)));
  }
}

TEST(ExtremeCalls, TrianglesAndDiagonalsBeyondTheMatrix) {
  const Tensor x = counted({2, 3}) + 1;
  for (const int64_t v : extremes) {
    if (v == -(int64_t(3) << 61)) continue;  // no length
    SCOPED_TRACE(v);
    std::vector<int64_t> low, high, diagonal;
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t j = 0; j < 3; ++j) {
        low.push_back(j - i <= v ? i * 3 + j + 1 : 0);
        high.push_back(j - i >= v ? i * 3 + j + 1 : 0);
        if (j - i == v) diagonal.push_back(i * 3 + j + 1);
      }
    EXPECT_EQ(x.tril(v).to_vector<int64_t>(), low);
    EXPECT_EQ(x.triu(v).to_vector<int64_t>(), high);
    EXPECT_EQ(x.diagonal(v).to_vector<int64_t>(), diagonal);
  }
}

TEST(ExtremeCalls, RollsGoRound) {
  const Tensor x = counted({5});
  for (const int64_t v : extremes) {
    if (v == -(int64_t(3) << 61)) continue;  // no length
    SCOPED_TRACE(v);
    std::vector<int64_t> want;
    for (int64_t i = 0; i < 5; ++i) want.push_back((i + 5 - (v % 5 + 5) % 5) % 5);
    EXPECT_EQ(x.roll({v}, {0}).to_vector<int64_t>(), want);
    EXPECT_EQ(x.roll({v}).to_vector<int64_t>(), want);
  }
}

}  // namespace
}  // namespace tandem::testing
