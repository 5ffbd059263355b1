// The layers of nn: how each is made from attributes, and inputs that fit.
#include "tandem/tandem.h"
#include "tests/five_ways/catalogue.h"

namespace tandem::five_ways {
namespace {

using namespace sample;
using V = Values;

/// The tensors of what a layer returns.
Tensors flat(const Tensor& t) { return {t}; }
Tensors flat(const RnnResult& r) { return {r.output, r.h_n}; }
Tensors flat(const LstmResult& r) { return {r.output, r.h_n, r.c_n}; }
Tensors flat(const nn::AttentionResult& r) { return {r.output, r.weights}; }

template <class M, int inputs>
Tensors call(nn::ModuleBase& module, Inputs in) {
  M& m = static_cast<M&>(module);
  if constexpr (inputs == 1) return flat(m(in[0]));
  else if constexpr (inputs == 2) return flat(m(in[0], in[1]));
  else return flat(m(in[0], in[1], in[2]));
}

template <class M, int inputs = 1, class... A>
Layer made(A&&... a) {
  return {std::make_shared<M>(std::forward<A>(a)...), call<M, inputs>};
}

int64_t integer(const Values& v, std::string_view name) { return int64_t(v.length(name)); }
nn::RNNOptions recurrent(const V& v) {
  nn::RNNOptions o;
  o.num_layers = integer(v, "num_layers");
  o.batch_first = v.flag("batch_first");
  o.bidirectional = v.flag("bidirectional");
  return o;
}

Attributes convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding,
                       int64_t groups, bool bias = true, std::string mode = "zeros") {
  return {{"in", in},           {"out", out},       {"kernel", kernel}, {"stride", stride},
          {"padding", padding}, {"groups", groups}, {"bias", bias},     {"mode", mode}};
}
Attributes sequence(int64_t in, int64_t hidden, int64_t layers, bool batch_first, bool both) {
  return {{"in", in},
          {"hidden", hidden},
          {"num_layers", layers},
          {"batch_first", batch_first},
          {"bidirectional", both}};
}
constexpr int64_t i(int64_t v) { return v; }

std::vector<LayerKind> with_weights() {
  return {
      {"Linear",
       "nn::Linear($in, $out, {.bias = $bias})",
       [](const V& v) {
         return made<nn::Linear>(integer(v, "in"), integer(v, "out"),
                                 nn::LinearOptions{.bias = v.flag("bias")});
       },
       {{{{"in", i(5)}, {"out", i(4)}, {"bias", true}}, {{{3, 5}}}},
        {{{"in", i(4)}, {"out", i(6)}, {"bias", false}}, {{{2, 3, 4}}}}}},
      {"Embedding",
       "nn::Embedding($num, $dim)",
       [](const V& v) { return made<nn::Embedding>(integer(v, "num"), integer(v, "dim")); },
       {{{{"num", i(7)}, {"dim", i(4)}}, {index({2, 3}, 7)}}}},
      {"Conv1d",
       "nn::Conv1d($in, $out, $kernel, {.stride = $stride, .padding = $padding, .groups = $groups, "
       ".bias = $bias, .padding_mode = $mode})",
       [](const V& v) {
         nn::Conv1dOptions o;
         o.stride = integer(v, "stride");
         o.padding = integer(v, "padding");
         o.groups = integer(v, "groups");
         o.bias = v.flag("bias");
         o.padding_mode = v.text("mode");
         return made<nn::Conv1d>(integer(v, "in"), integer(v, "out"), integer(v, "kernel"), o);
       },
       {{convolution(3, 4, 3, 1, 1, 1), {{{2, 3, 7}}}},
        {convolution(4, 2, 2, 2, 1, 2, false, "reflect"), {{{2, 4, 6}}}}}},
      {"Conv2d",
       "nn::Conv2d($in, $out, $kernel, {.stride = $stride, .padding = $padding, .groups = $groups, "
       ".bias = $bias, .padding_mode = $mode})",
       [](const V& v) {
         nn::Conv2dOptions o;
         o.stride = integer(v, "stride");
         o.padding = integer(v, "padding");
         o.groups = integer(v, "groups");
         o.bias = v.flag("bias");
         o.padding_mode = v.text("mode");
         return made<nn::Conv2d>(integer(v, "in"), integer(v, "out"), integer(v, "kernel"), o);
       },
       {{convolution(3, 16, 3, 1, 1, 1), {{{2, 3, 6, 7}}}},
        {convolution(3, 32, 3, 2, 1, 1), {{{1, 3, 9, 8}}}},
        {convolution(8, 16, 1, 1, 0, 1, false), {{{2, 8, 5, 4}}}},
        {convolution(8, 16, 3, 1, 1, 8), {{{2, 8, 5, 5}}}},
        {convolution(4, 6, 2, 1, 1, 2, true, "replicate"), {{{2, 4, 5, 6}}}}}},
      {"ConvTranspose2d",
       "nn::ConvTranspose2d($in, $out, $kernel, {.stride = $stride, .padding = $padding})",
       [](const V& v) {
         nn::ConvTranspose2dOptions o;
         o.stride = integer(v, "stride");
         o.padding = integer(v, "padding");
         return made<nn::ConvTranspose2d>(integer(v, "in"), integer(v, "out"), integer(v, "kernel"),
                                          o);
       },
       {{{{"in", i(3)}, {"out", i(4)}, {"kernel", i(3)}, {"stride", i(2)}, {"padding", i(1)}},
         {{{2, 3, 4, 5}}}}}},
      {"BatchNorm1d",
       "nn::BatchNorm1d($features)",
       [](const V& v) { return made<nn::BatchNorm1d>(integer(v, "features")); },
       {{{{"features", i(5)}, {"training", true}}, {{{3, 5}}}},
        {{{"features", i(3)}, {"training", false}}, {{{2, 3, 4}}}}}},
      {"BatchNorm2d",
       "nn::BatchNorm2d($features)",
       [](const V& v) { return made<nn::BatchNorm2d>(integer(v, "features")); },
       {{{{"features", i(3)}, {"training", true}}, {{{2, 3, 4, 5}}}},
        {{{"features", i(16)}, {"training", false}}, {{{2, 16, 4, 5}}}}}},
      {"LayerNorm",
       "nn::LayerNorm($shape)",
       [](const V& v) { return made<nn::LayerNorm>(v.shape("shape")); },
       {{{{"shape", Shape{5}}}, {{{3, 5}}}}, {{{"shape", Shape{3, 4}}}, {{{2, 3, 4}}}}}},
      {"GroupNorm",
       "nn::GroupNorm($groups, $channels)",
       [](const V& v) { return made<nn::GroupNorm>(integer(v, "groups"), integer(v, "channels")); },
       {{{{"groups", i(2)}, {"channels", i(4)}}, {{{2, 4, 3, 5}}}}}}};
}

std::vector<LayerKind> sequences() {
  constexpr std::string_view options =
      "($in, $hidden, {.num_layers = $num_layers, .batch_first = $batch_first, .bidirectional = "
      "$bidirectional})";
  static const std::string rnn = cat("nn::RNN", options), gru = cat("nn::GRU", options),
                           lstm = cat("nn::LSTM", options);
  return {{"RNN",
           rnn,
           [](const V& v) {
             return made<nn::RNN>(integer(v, "in"), integer(v, "hidden"), recurrent(v));
           },
           {{sequence(4, 3, 1, false, false), {{{5, 2, 4}}}},
            {sequence(4, 3, 2, true, true), {{{2, 5, 4}}}}},
           ".output, .h_n"},
          {"GRU",
           gru,
           [](const V& v) {
             return made<nn::GRU>(integer(v, "in"), integer(v, "hidden"), recurrent(v));
           },
           {{sequence(4, 3, 1, true, false), {{{2, 5, 4}}}},
            {sequence(4, 3, 1, false, true), {{{5, 2, 4}}}}},
           ".output, .h_n"},
          {"LSTM",
           lstm,
           [](const V& v) {
             return made<nn::LSTM>(integer(v, "in"), integer(v, "hidden"), recurrent(v));
           },
           {{sequence(4, 3, 1, false, false), {{{5, 2, 4}}}},
            {sequence(4, 3, 1, true, true), {{{2, 5, 4}}}}},
           ".output, .h_n, .c_n"},
          {"MultiheadAttention",
           "nn::MultiheadAttention($dim, $heads, {.batch_first = $batch_first})",
           [](const V& v) {
             nn::MultiheadAttentionOptions o;
             o.batch_first = v.flag("batch_first");
             return made<nn::MultiheadAttention, 3>(integer(v, "dim"), integer(v, "heads"), o);
           },
           {{{{"dim", i(4)}, {"heads", i(2)}, {"batch_first", true}},
             {{{2, 5, 4}}, {{2, 6, 4}}, {{2, 6, 4}}}},
            {{{"dim", i(6)}, {"heads", i(3)}, {"batch_first", false}},
             {{{5, 2, 6}}, {{5, 2, 6}}, {{5, 2, 6}}}}},
           ".output, .weights"},
          {"TransformerEncoderLayer",
           "nn::TransformerEncoderLayer($dim, $heads, {.dim_feedforward = $width, .dropout = 0, "
           ".activation = $activation, .batch_first = $batch_first, .norm_first = $norm_first})",
           [](const V& v) {
             nn::TransformerEncoderLayerOptions o;
             o.dim_feedforward = integer(v, "width");
             o.dropout = 0;
             o.activation = v.text("activation");
             o.batch_first = v.flag("batch_first");
             o.norm_first = v.flag("norm_first");
             return made<nn::TransformerEncoderLayer>(integer(v, "dim"), integer(v, "heads"), o);
           },
           {{{{"dim", i(4)},
              {"heads", i(2)},
              {"width", i(8)},
              {"activation", std::string("relu")},
              {"batch_first", true},
              {"norm_first", false}},
             {{{2, 5, 4}}}},
            {{{"dim", i(6)},
              {"heads", i(2)},
              {"width", i(10)},
              {"activation", std::string("gelu")},
              {"batch_first", false},
              {"norm_first", true}},
             {{{5, 2, 6}}}}}}};
}

std::vector<LayerKind> without_weights() {
  return {{"MaxPool2d",
           "nn::MaxPool2d($kernel)",
           [](const V& v) { return made<nn::MaxPool2d>(integer(v, "kernel")); },
           {{{{"kernel", i(2)}}, {{{2, 3, 6, 5}}}}}},
          {"AvgPool2d",
           "nn::AvgPool2d($kernel)",
           [](const V& v) { return made<nn::AvgPool2d>(integer(v, "kernel")); },
           {{{{"kernel", i(2)}}, {{{2, 3, 6, 5}}}}}},
          {"AdaptiveAvgPool2d",
           "nn::AdaptiveAvgPool2d($size)",
           [](const V& v) { return made<nn::AdaptiveAvgPool2d>(integer(v, "size")); },
           {{{{"size", i(2)}}, {{{2, 3, 6, 5}}}}, {{{"size", i(1)}}, {{{2, 3, 4, 4}}}}}},
          {"Flatten",
           "nn::Flatten()",
           [](const V&) { return made<nn::Flatten>(); },
           {{{}, {{{2, 3, 4}}}}}},
          {"Dropout",
           "nn::Dropout($dropout)",
           [](const V& v) { return made<nn::Dropout>(v.real("dropout")); },
           {{{{"dropout", 0.5}, {"training", true}}, {{{3, 5}}}},
            {{{"dropout", 0.5}, {"training", false}}, {{{3, 5}}}}}},
          {"MSELoss",
           "nn::MSELoss()",
           [](const V&) { return made<nn::MSELoss, 2>(); },
           {{{}, {{{3, 5}}, {{3, 5}}}}}},
          {"CrossEntropyLoss",
           "nn::CrossEntropyLoss()",
           [](const V&) { return made<nn::CrossEntropyLoss, 2>(); },
           {{{}, {{{5, 3}}, index({5}, 3)}}}}};
}

}  // namespace

const std::vector<LayerKind>& layers() {
  static const std::vector<LayerKind> all = [] {
    std::vector<LayerKind> list = with_weights();
    for (auto& l : sequences()) list.push_back(std::move(l));
    for (auto& l : without_weights()) list.push_back(std::move(l));
    return list;
  }();
  return all;
}

}  // namespace tandem::five_ways
