// ONNX's operators on texts, computed when the model is planned: texts are no tensors.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/op/copy.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/reshape.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Texts = GraphValue::Texts;
using Words = std::vector<std::string>;

const Texts& texts_of(I& n, const GraphValue& v, int i) {
  n.need(v.texts != nullptr, "input ", i, " holds no texts");
  return *v.texts;
}

/// Calls f(a, b) for all pairs of two lists that broadcast; gives the common shape.
template <class F>
Shape each_pair(I& n, const Texts& a, const Texts& b, const F& f) {
  Shape shape;
  n.need(broadcast(a.shape, b.shape, shape), "shapes ", a.shape, " and ", b.shape,
         " do not broadcast");
  auto place = [&](const Texts& t, int64_t at) {
    int64_t found = 0, step = 1;
    for (int i = shape.size() - 1, k = t.shape.size() - 1; i >= 0; --i, --k) {
      if (k >= 0) {
        found += (t.shape[k] == 1 ? 0 : at % int64_t(shape[i])) * step;
        step *= t.shape[k];
      }
      at /= shape[i];
    }
    return size_t(found);
  };
  for (int64_t i = 0; i < shape.numel(); ++i) f(a.values[place(a, i)], b.values[place(b, i)]);
  return shape;
}

GraphValues concat_texts(I& n) {
  const GraphValue a = n.any_in(0), b = n.any_in(1);
  Words all;
  const Shape shape =
      each_pair(n, texts_of(n, a, 0), texts_of(n, b, 1),
                [&](const std::string& x, const std::string& y) { all.push_back(x + y); });
  return {GraphValue::of_texts(std::move(all), shape)};
}

// --- Splitting and cleaning
// -----------------------------------------------------------------------

/// By a delimiter, or, without one, by white space; at most `most` cuts, any number when negative.
Words split_text(const std::string& s, const std::string& delimiter, int64_t most) {
  constexpr std::string_view space = " \t\n\r\v\f";
  Words parts;
  if (delimiter.empty()) {
    size_t at = s.find_first_not_of(space);
    while (at != s.npos) {
      if (most >= 0 && int64_t(parts.size()) == most) {
        parts.push_back(s.substr(at, s.find_last_not_of(space) + 1 - at));
        return parts;
      }
      const size_t end = std::min(s.find_first_of(space, at), s.size());
      parts.push_back(s.substr(at, end - at));
      at = s.find_first_not_of(space, end);
    }
    return parts;
  }
  size_t at = 0;
  for (;;) {
    const size_t end = most >= 0 && int64_t(parts.size()) == most ? s.npos : s.find(delimiter, at);
    parts.push_back(s.substr(at, end == s.npos ? s.npos : end - at));
    if (end == s.npos) return parts;
    at = end + delimiter.size();
  }
}

GraphValues split_texts(I& n) {
  const GraphValue v = n.any_in(0);
  const Texts& x = texts_of(n, v, 0);
  const std::string delimiter = n.text("delimiter", "");
  const int64_t most = n.attribute("maxsplit") ? n.integer("maxsplit", 0) : -1;
  std::vector<Words> rows;
  std::vector<int64_t> counts;
  size_t longest = 0;
  for (const std::string& s : x.values) {
    rows.push_back(split_text(s, delimiter, most));
    counts.push_back(int64_t(rows.back().size()));
    longest = std::max(longest, rows.back().size());
  }
  n.need(longest * rows.size() < (size_t(1) << 26), "too many parts");
  Words all;
  for (Words& row : rows) {
    row.resize(longest);
    all.insert(all.end(), row.begin(), row.end());
  }
  Shape shape = x.shape;
  shape.push_back(int64_t(longest));
  return {GraphValue::of_texts(std::move(all), shape), wrap(std::move(counts), x.shape)};
}

/// Letters beyond ASCII have rules of their own in every language: they are refused.
std::string in_case(I& n, std::string s, bool upper) {
  for (char& c : s) {
    if (static_cast<unsigned char>(c) >= 128)
      n.unsupported("another case for the text \"", s, "\"");
    const bool other = upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z';
    if (other) c = char(c ^ 0x20);
  }
  return s;
}

GraphValues normalize_texts(I& n) {
  const GraphValue v = n.any_in(0);
  const Texts& x = texts_of(n, v, 0);
  n.need(x.shape.size() == 1 || (x.shape.size() == 2 && x.shape[0] == 1), "texts of shape ",
         x.shape);
  const std::string action = n.text("case_change_action", "NONE");
  n.need(action == "NONE" || action == "LOWER" || action == "UPPER", "case_change_action ", action);
  const bool sensitive = n.flag("is_case_sensitive", false);
  auto key = [&](const std::string& s) { return sensitive ? s : in_case(n, s, false); };
  std::set<std::string> stops;
  for (const std::string& s : n.texts("stopwords")) stops.insert(key(s));
  Words kept;
  for (const std::string& s : x.values)
    if (stops.empty() || !stops.contains(key(s)))
      kept.push_back(action == "NONE" ? s : in_case(n, s, action == "UPPER"));
  if (kept.empty()) kept.emplace_back();
  Shape shape = x.shape;
  shape[shape.size() - 1] = int64_t(kept.size());
  return {GraphValue::of_texts(std::move(kept), shape)};
}

// --- Counting
// -------------------------------------------------------------------------------------

/// Words and numbers as one kind of key.
Words keys_of(I& n, int i) {
  const GraphValue v = n.any_in(i);
  if (v.texts) return v.texts->values;
  Words all;
  for (int64_t k : as_contiguous(n.known(i), i64).to_vector<int64_t>())
    all.push_back(std::to_string(k));
  return all;
}

/// How often each listed run of words is there, with gaps of up to max_skip_count words.
GraphValues tfidf(I& n) {
  const std::string mode = n.text("mode", "");
  n.need(mode == "TF" || mode == "IDF" || mode == "TFIDF", "mode ", mode);
  const int64_t shortest = n.integer("min_gram_length", 1),
                longest = n.integer("max_gram_length", 1), skips = n.integer("max_skip_count", 0);
  const auto counts = n.list("ngram_counts").value_or(std::vector<int64_t>());
  const auto indexes = n.list("ngram_indexes").value_or(std::vector<int64_t>());
  const auto weights = n.reals("weights");
  Words pool = n.texts("pool_strings");
  if (pool.empty())
    for (int64_t k : n.list("pool_int64s").value_or(std::vector<int64_t>()))
      pool.push_back(std::to_string(k));
  n.need(shortest > 0 && longest >= shortest && longest < 64 && skips >= 0 && skips < 4096 &&
             !indexes.empty(),
         "min_gram_length=", shortest, ", max_gram_length=", longest, ", max_skip_count=", skips);
  int64_t width = 0;
  for (int64_t i : indexes) {
    n.need(i >= 0 && i < (1 << 24), "a place of ", i);
    width = std::max(width, i + 1);
  }
  std::map<Words, int64_t> grams;  // the place of each run
  size_t next = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    const int64_t size = int64_t(k) + 1, first = counts[k];
    const int64_t last = k + 1 < counts.size() ? counts[k + 1] : int64_t(pool.size());
    n.need(
        first >= 0 && first <= last && last <= int64_t(pool.size()) && (last - first) % size == 0,
        "ngram_counts do not fit the pool");
    for (int64_t at = first; at < last; at += size, ++next) {
      n.need(next < indexes.size(), "ngram_indexes are too few");
      if (size >= shortest && size <= longest)
        grams.emplace(Words(pool.begin() + at, pool.begin() + at + size), indexes[next]);
    }
  }
  const GraphValue given = n.any_in(0);
  const Shape shape = given.texts ? given.texts->shape : given.tensor.shape();
  n.need(shape.size() == 1 || shape.size() == 2, "an input of shape ", shape);
  const Words all = keys_of(n, 0);
  const int64_t rows = shape.size() == 2 ? int64_t(shape[0]) : 1, length = shape.back();
  std::vector<float> out(size_t(rows * width), 0);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t step = 1; step <= skips + 1; ++step)
      for (int64_t from = 0; from < length; ++from) {
        Words run;
        for (int64_t at = from; at < length && int64_t(run.size()) < longest; at += step) {
          run.push_back(all[size_t(r * length + at)]);
          if (run.size() == 1 && step > 1) continue;  // a single word has no gaps
          if (const auto it = grams.find(run); it != grams.end())
            out[size_t(r * width + it->second)] += 1;
        }
      }
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t column = i % size_t(width);
    n.need(!weights || weights->size() > column, "weights are too few");
    if (mode == "IDF") out[i] = out[i] > 0 ? (weights ? (*weights)[column] : 1) : 0;
    if (mode == "TFIDF" && weights) out[i] *= (*weights)[column];
  }
  return {wrap(std::move(out), shape.size() == 2 ? Shape{rows, width} : Shape{width})};
}

// --- Machine learning's own domain
// ----------------------------------------------------------------

/// A list of an attribute, as a tensor or as texts.
GraphValue listed(I& n, const std::string& name) {
  if (const auto* a = n.attribute(name + "_tensor")) {
    n.need(a->type == onnx::Attribute::Type::tensor, "attribute ", name, "_tensor is no tensor");
    return value_of(a->tensors.at(0));
  }
  if (n.attribute(name + "_strings")) {
    Words all = n.texts(name + "_strings");
    const int64_t count = int64_t(all.size());
    return GraphValue::of_texts(std::move(all), {count});
  }
  if (auto v = n.reals(name + "_floats")) {
    const int64_t count = int64_t(v->size());
    return wrap(std::move(*v), {count});
  }
  return numbers(n.list(name + "_int64s").value_or(std::vector<int64_t>()));
}

/// A key as a text: numbers by their value, NaN as well.
Words as_keys(I& n, const GraphValue& v) {
  if (v.texts) return v.texts->values;
  Words all;
  n.need(v.tensor.defined() && !v.tensor.is_symbolic(), "keys are no plain tensor");
  if (is_floating(v.tensor.dtype()))
    for (double d : v.tensor.to_vector<double>())
      all.push_back(std::isnan(d) ? "nan" : cat(std::bit_cast<int64_t>(d == 0 ? 0.0 : d)));
  else
    for (int64_t k : v.tensor.to_vector<int64_t>()) all.push_back(std::to_string(k));
  return all;
}

/// A value for each key.
GraphValues label_encoder(I& n) {
  const GraphValue x = n.any_in(0), keys = listed(n, "keys"), values = listed(n, "values");
  if (!x.texts) (void)n.known(0);
  const Words known = as_keys(n, keys), given = as_keys(n, x);
  std::map<std::string, size_t> places;
  for (size_t i = 0; i < known.size(); ++i) places.emplace(known[i], i);
  const Shape shape = x.texts ? x.texts->shape : x.tensor.shape();
  auto place = [&](const std::string& key) {
    const auto it = places.find(key);
    return it == places.end() ? int64_t(-1) : int64_t(it->second);
  };
  if (values.texts) {
    n.need(values.texts->values.size() == known.size(), "keys and values differ in number");
    const std::string otherwise = n.text("default_string", "_Unused");
    Words all;
    for (const std::string& key : given) {
      const int64_t at = place(key);
      all.push_back(at < 0 ? otherwise : values.texts->values[size_t(at)]);
    }
    return {GraphValue::of_texts(std::move(all), shape)};
  }
  n.need(values.tensor.defined() && values.tensor.numel() == int64_t(known.size()),
         "keys and values differ in number");
  const DType d = values.tensor.dtype();
  Tensor otherwise = is_floating(d) ? full({1}, n.real("default_float", -0.0f), d)
                                    : full({1}, n.integer("default_int64", -1), d);
  if (const auto* a = n.attribute("default_tensor"))
    otherwise = reshape(a->tensors.at(0).value(), {1});
  std::vector<int64_t> at;
  for (const std::string& key : given) at.push_back(place(key) + 1);
  const Tensor all = cat({cast(otherwise, d), reshape(values.tensor, {values.tensor.numel()})});
  return {reshape(index_select(all, 0, numbers(std::move(at))), shape)};
}

Tensors binarizer(I& n) { return {cast(n.in(0) > n.real("threshold", 0), n.in(0).dtype())}; }
/// Some columns of the last axis.
Tensors feature_extractor(I& n) {
  const Tensor x = n.in(0), at = n.in(1);
  n.need(x.dim() > 0, "input 0 has no axes");
  const Tensor y = index_select(x, x.dim() - 1, reshape(at, {at.numel()}));
  return {x.dim() == 1 ? reshape(y, {1, at.numel()}) : y};
}

}  // namespace

GraphValue equal_texts(I& n) {
  const GraphValue a = n.any_in(0), b = n.any_in(1);
  std::vector<uint8_t> all;
  const Shape shape =
      each_pair(n, texts_of(n, a, 0), texts_of(n, b, 1),
                [&](const std::string& x, const std::string& y) { all.push_back(x == y); });
  return cast(wrap(std::move(all), shape), boolean);
}

void add_text_imports(OnnxImports& t) {
  t.insert({{"StringConcat", concat_texts},
            {"StringSplit", split_texts},
            {"StringNormalizer", normalize_texts},
            {"TfIdfVectorizer", tfidf},
            {"ai.onnx.ml.LabelEncoder", label_encoder},
            {"ai.onnx.ml.Binarizer", binarizer},
            {"ai.onnx.ml.ArrayFeatureExtractor", feature_extractor}});
}

}  // namespace tandem::detail
