// Public functions that do more than call a record: what a record cannot say of them stands here.
#include <cmath>

#include "tandem/tandem.h"
#include "tests/five_ways/catalogue.h"

namespace tandem::five_ways {
namespace {

using namespace sample;
using Sample = CallSample;
using V = Values;

constexpr int64_t one = 1, two = 2;

int64_t integer(const Values& v, std::string_view name) { return int64_t(v.length(name)); }

/// Which part: that there is one may depend on a length.
Tensor part(const Tensors& parts, int64_t i) {
  require<IndexError>(i >= 0 && i < int64_t(parts.size()), "part ", i, " of ",
                      int64_t(parts.size()));
  return parts[size_t(i)];
}

std::vector<Function> views() {
  return {{"transpose",
           "transpose($0, $axis0, $axis1)",
           [](const V& v, Inputs in) {
             return transpose(in[0], int(integer(v, "axis0")), int(integer(v, "axis1")));
           },
           {{{{"axis0", int64_t(0)}, {"axis1", one}}, {{{3, 5}}}},
            {{{"axis0", int64_t(-1)}, {"axis1", one}}, {{{2, 3, 4}}}},
            {{{"axis0", one}, {"axis1", int64_t(-1)}}, {{{2, 3, 5, 4}}}}}},
          {"flatten",
           "flatten($0, $first, $last)",
           [](const V& v, Inputs in) {
             return flatten(in[0], int(integer(v, "first")), int(integer(v, "last")));
           },
           {{{{"first", int64_t(0)}, {"last", int64_t(-1)}}, {{{3, 5}}}},
            {{{"first", one}, {"last", int64_t(-1)}}, {{{2, 3, 4, 5}}}},
            {{{"first", int64_t(0)}, {"last", one}}, {{{2, 3, 4}}}}}},
          {"squeeze",
           "squeeze($0, $axis)",
           [](const V& v, Inputs in) { return squeeze(in[0], int(integer(v, "axis"))); },
           {{{{"axis", int64_t(0)}}, {{{1, 5}}}}, {{{"axis", int64_t(-1)}}, {{{3, 1}}}}}},
          {"squeeze_all",
           "squeeze($0)",
           [](const V&, Inputs in) { return squeeze(in[0]); },
           {{{}, {{{1, 5, 1}}}}}},
          {"unsqueeze",
           "unsqueeze($0, $axis)",
           [](const V& v, Inputs in) { return unsqueeze(in[0], int(integer(v, "axis"))); },
           {{{{"axis", int64_t(0)}}, {{{3, 5}}}}, {{{"axis", int64_t(-1)}}, {{{4}}}}}},
          {"movedim",
           "movedim($0, $source, $destination)",
           [](const V& v, Inputs in) {
             return movedim(in[0], integer(v, "source"), integer(v, "destination"));
           },
           {{{{"source", int64_t(0)}, {"destination", int64_t(-1)}}, {{{2, 3, 4}}}}}},
          {"narrow",
           "narrow($0, $axis, $start, $length)",
           [](const V& v, Inputs in) {
             return narrow(in[0], integer(v, "axis"), v.length("start"), v.length("length"));
           },
           {{{{"axis", int64_t(0)}, {"start", one}, {"length", two}}, {{{4, 3}}}},
            {{{"axis", int64_t(-1)}, {"start", int64_t(0)}, {"length", two}}, {{{3, 5}}}}}},
          {"chunk",
           "part(chunk($0, $chunks, $axis), $part)",
           [](const V& v, Inputs in) {
             return part(chunk(in[0], integer(v, "chunks"), integer(v, "axis")),
                         integer(v, "part"));
           },
           {{{{"chunks", two}, {"axis", int64_t(0)}, {"part", int64_t(0)}}, {{{5, 3}}}},
            {{{"chunks", two}, {"axis", int64_t(-1)}, {"part", one}}, {{{3, 6}}}}}},
          {"split",
           "part(split($0, $size, $axis), $part)",
           [](const V& v, Inputs in) {
             return part(split(in[0], v.length("size"), integer(v, "axis")), integer(v, "part"));
           },
           {{{{"size", two}, {"axis", int64_t(0)}, {"part", int64_t(0)}}, {{{5, 3}}}},
            {{{"size", two}, {"axis", one}, {"part", one}}, {{{3, 4}}}}}},
          {"unbind",
           "part(unbind($0, $axis), $part)",
           [](const V& v, Inputs in) {
             return part(unbind(in[0], integer(v, "axis")), integer(v, "part"));
           },
           {{{{"axis", int64_t(0)}, {"part", one}}, {{{3, 4}}}}}},
          {"view",
           "$0.view($shape)",
           [](const V& v, Inputs in) { return in[0].view(v.shape("shape")); },
           {{{{"shape", Shape{3, 4}}}, {{{12}}}}, {{{"shape", Shape{-1, 2, 2}}}, {{{3, 4}}}}}},
          {"contiguous",
           "contiguous($0)",
           [](const V&, Inputs in) { return contiguous(in[0]); },
           {{{}, {{{3, 5}}}}}},
          {"detach",
           "$0.detach()",
           [](const V&, Inputs in) { return in[0].detach(); },
           {{{}, {{{3, 5}}}}}},
          {"tile",
           "tile($0, $repeats)",
           [](const V& v, Inputs in) { return tile(in[0], v.shape("repeats")); },
           {{{{"repeats", Shape{2, 1}}}, {{{3, 5}}}}}},
          {"pow_number",
           "pow($0, $exponent)",
           [](const V& v, Inputs in) { return pow(in[0], v.real("exponent")); },
           {{{{"exponent", 2.0}}, {{{3, 5}}}},
            {{{"exponent", 0.5}}, {positive({3, 5})}},
            {{{"exponent", -1.0}}, {positive({4})}},
            {{{"exponent", -2.0}}, {listed({5}, {0.0, 2, HUGE_VAL, -3, -0.0})}},
            {{{"exponent", 3.0}}, {{{3, 5}}}}}}};
}

std::vector<Function> factories() {
  return {
      {"zeros",
       "zeros($shape, $dtype)",
       [](const V& v, Inputs) { return zeros(v.shape("shape"), v.dtype("dtype")); },
       {{{{"shape", Shape{3, 4}}, {"dtype", f32}}, {}},
        {{{"shape", Shape{5}}, {"dtype", f32}}, {}}}},
      {"ones",
       "ones($shape, $dtype)",
       [](const V& v, Inputs) { return ones(v.shape("shape"), v.dtype("dtype")); },
       {{{{"shape", Shape{3, 3}}, {"dtype", f32}}, {}},
        {{{"shape", Shape{2, 5}}, {"dtype", boolean}}, {}}}},
      {"full",
       "full($shape, $value, $dtype)",
       [](const V& v, Inputs) { return full(v.shape("shape"), v.real("value"), v.dtype("dtype")); },
       {{{{"shape", Shape{3}}, {"value", 1.5}, {"dtype", f32}}, {}},
        {{{"shape", Shape{2}}, {"value", 0.5}, {"dtype", boolean}}, {}},
        {{{"shape", Shape{2}}, {"value", -2.5}, {"dtype", i64}}, {}}}},
      {"zeros_like",
       "zeros_like($0)",
       [](const V&, Inputs in) { return zeros_like(in[0]); },
       {{{}, {{{3, 5}}}}}},
      {"ones_like",
       "ones_like($0)",
       [](const V&, Inputs in) { return ones_like(in[0]); },
       {{{}, {{{3, 5}}}}}},
      {"full_like",
       "full_like($0, $value)",
       [](const V& v, Inputs in) { return full_like(in[0], v.real("value")); },
       {{{{"value", 0.5}}, {{{3, 5}}}}, {{{"value", 0.5}}, {mask({4})}}}},
      {"eye",
       "eye($n, $m)",
       [](const V& v, Inputs) { return eye(v.length("n"), v.length("m")); },
       {{{{"n", int64_t(3)}, {"m", int64_t(-1)}}, {}}, {{{"n", int64_t(4)}, {"m", two}}, {}}}},
      {"arange",
       "arange($end)",
       [](const V& v, Inputs) { return arange(v.length("end")); },
       {{{{"end", int64_t(5)}}, {}}}},
      {"linspace",
       "linspace($start, $end, $steps)",
       [](const V& v, Inputs) {
         return linspace(v.real("start"), v.real("end"), v.length("steps"));
       },
       {{{{"start", 0.0}, {"end", 1.0}, {"steps", int64_t(5)}}, {}}}}};
}

std::vector<Function> random_draws() {
  return {{"rand",
           "rand($shape, $dtype)",
           [](const V& v, Inputs) { return rand(v.shape("shape"), v.dtype("dtype")); },
           {{{{"shape", Shape{3, 4}}, {"dtype", f32}}, {}}},
           true},
          {"randn",
           "randn($shape, $dtype)",
           [](const V& v, Inputs) { return randn(v.shape("shape"), v.dtype("dtype")); },
           {{{{"shape", Shape{3, 4}}, {"dtype", f32}}, {}}},
           true},
          {"randint",
           "randint($low, $high, $shape)",
           [](const V& v, Inputs) {
             return randint(integer(v, "low"), integer(v, "high"), v.shape("shape"));
           },
           {{{{"low", int64_t(0)}, {"high", int64_t(3)}, {"shape", Shape{4}}}, {}}},
           true},
          {"randperm",
           "randperm($n)",
           [](const V& v, Inputs) { return randperm(v.length("n")); },
           {{{{"n", int64_t(5)}}, {}}},
           true},
          {"rand_like",
           "rand_like($0)",
           [](const V&, Inputs in) { return rand_like(in[0]); },
           {{{}, {{{3, 5}}}}},
           true},
          {"randn_like",
           "randn_like($0)",
           [](const V&, Inputs in) { return randn_like(in[0]); },
           {{{}, {{{3, 5}}}}},
           true},
          {"bernoulli",
           "bernoulli(sigmoid($0))",
           [](const V&, Inputs in) { return bernoulli(sigmoid(in[0])); },
           {{{}, {{{3, 5}}}}},
           true},
          {"multinomial",
           "multinomial($0, $num_samples, $replacement)",
           [](const V& v, Inputs in) {
             return multinomial(in[0], integer(v, "num_samples"), v.flag("replacement"));
           },
           {{{{"num_samples", two}, {"replacement", true}}, {positive({4})}}},
           true},
          {"dropout",
           "dropout($0, $p, $training)",
           [](const V& v, Inputs in) { return dropout(in[0], v.real("p"), v.flag("training")); },
           {{{{"p", 0.5}, {"training", true}}, {{{3, 5}}}},
            {{{"p", 0.3}, {"training", false}}, {{{3, 5}}}}},
           true}};
}

}  // namespace

const std::vector<Function>& functions() {
  static const std::vector<Function> all = [] {
    std::vector<Function> list = views();
    for (auto& f : factories()) list.push_back(std::move(f));
    for (auto& f : random_draws()) list.push_back(std::move(f));
    return list;
  }();
  return all;
}

}  // namespace tandem::five_ways
