// ONNX's sequences and optional values.
#include <algorithm>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Kind = GraphValue::Kind;
using Items = std::vector<GraphValue>;

const Items& items(I& n, const GraphValue& v, int i) {
  n.need(v.items != nullptr, "input ", i, " is no sequence");
  return *v.items;
}
/// A place in a list; negative ones count from the end.
size_t place(I& n, int i, size_t count, bool end_too) {
  const int64_t given = n.whole_number(i), size = int64_t(count);
  const int64_t at = given < 0 ? given + size : given;
  n.need(at >= 0 && at < size + end_too, "place ", given, " of ", size);
  return size_t(at);
}

GraphValues sequence_empty(I& n) {
  (void)n;
  return {GraphValue::of_items({})};
}
GraphValues sequence_construct(I& n) {
  Items all;
  for (int i = 0; i < n.inputs(); ++i) {
    all.push_back(n.any_in(i));
    n.need(all.back().kind != Kind::nothing, "input ", i, " is missing");
  }
  return {GraphValue::of_items(std::move(all))};
}
GraphValues sequence_insert(I& n) {
  const GraphValue list = n.any_in(0);
  Items all = items(n, list, 0);
  const GraphValue fresh = n.any_in(1);
  n.need(fresh.kind != Kind::nothing, "input 1 is missing");
  const size_t at = n.has(2) ? place(n, 2, all.size(), true) : all.size();
  all.insert(all.begin() + std::ptrdiff_t(at), fresh);
  return {GraphValue::of_items(std::move(all))};
}
GraphValues sequence_erase(I& n) {
  const GraphValue list = n.any_in(0);
  Items all = items(n, list, 0);
  n.need(!all.empty(), "the sequence is empty");
  const size_t at = n.has(1) ? place(n, 1, all.size(), false) : all.size() - 1;
  all.erase(all.begin() + std::ptrdiff_t(at));
  return {GraphValue::of_items(std::move(all))};
}
GraphValues sequence_at(I& n) {
  const GraphValue list = n.any_in(0);
  const Items& all = items(n, list, 0);
  return {all[place(n, 1, all.size(), false)]};
}
GraphValues sequence_length(I& n) {
  const GraphValue list = n.any_in(0);
  return {Tensor(full({}, int64_t(items(n, list, 0).size()), i64))};
}

GraphValues split_to_sequence(I& n) {
  const Tensor x = n.in(0);
  const int axis = axis_of(n, n.integer("axis", 0), x.dim());
  const int64_t length = x.size(axis);
  std::vector<int64_t> sizes;
  bool keep = true;
  if (!n.has(1)) {
    keep = n.flag("keepdims", true);
    sizes.assign(size_t(length), 1);
  } else if (n.in(1).dim() == 0) {
    const int64_t each = n.whole_number(1);
    n.need(each > 0, "parts of ", each);
    for (int64_t left = length; left > 0; left -= each) sizes.push_back(std::min(each, left));
  } else {
    sizes = n.ints(1);
    for (int64_t s : sizes) n.need(s >= 0, "a length of ", s);
  }
  Items all;
  for (const Tensor& t : split(x, sizes, axis)) all.emplace_back(keep ? t : squeeze(t, axis));
  return {GraphValue::of_items(std::move(all))};
}
GraphValues concat_from_sequence(I& n) {
  const GraphValue list = n.any_in(0);
  std::vector<Tensor> all;
  for (const GraphValue& item : items(n, list, 0)) {
    if (item.kind != Kind::tensor || item.element)
      n.unsupported("elements that are no plain tensors");
    all.push_back(item.tensor);
  }
  n.need(!all.empty(), "the sequence is empty");
  const int64_t axis = n.integer("axis", 0);
  return {n.flag("new_axis", false) ? stack(all, axis) : cat(all, axis)};
}

/// The results of a graph for each element in turn.
GraphValues sequence_map(I& n) {
  const onnx::Attribute* a = n.attribute("body");
  n.need(a && a->type == onnx::Attribute::Type::graph, "attribute body is no graph");
  const onnx::Graph& body = a->graphs.at(0);
  const GraphValue first = n.any_in(0);
  const size_t count = items(n, first, 0).size();
  std::vector<Items> out(body.outputs.size());
  GraphValues given;
  for (int i = 0; i < n.inputs(); ++i) given.push_back(n.any_in(i));
  for (size_t k = 0; k < count; ++k) {
    GraphValues in;
    for (const GraphValue& v : given) {
      n.need(!v.items || v.items->size() == count, "sequences of different lengths");
      in.push_back(v.items ? (*v.items)[k] : v);
    }
    const GraphValues results = n.run_body(body, in);
    for (size_t i = 0; i < results.size(); ++i) out[i].push_back(results[i]);
  }
  GraphValues all;
  for (Items& list : out) all.push_back(GraphValue::of_items(std::move(list)));
  return all;
}

// --- Optional values
// ------------------------------------------------------------------------------

GraphValues optional(I& n) { return {n.any_in(0)}; }
GraphValues has_element(I& n) {
  return {Tensor(full({}, n.any_in(0).kind != Kind::nothing, boolean))};
}
GraphValues get_element(I& n) {
  const GraphValue v = n.any_in(0);
  n.need(v.kind != Kind::nothing, "the optional value is not there");
  return {v};
}

}  // namespace

void add_sequence_imports(OnnxImports& t) {
  t.insert({{"SequenceEmpty", sequence_empty},
            {"SequenceConstruct", sequence_construct},
            {"SequenceInsert", sequence_insert},
            {"SequenceErase", sequence_erase},
            {"SequenceAt", sequence_at},
            {"SequenceLength", sequence_length},
            {"SplitToSequence", split_to_sequence},
            {"ConcatFromSequence", concat_from_sequence},
            {"SequenceMap", sequence_map},
            {"Optional", optional},
            {"OptionalHasElement", has_element},
            {"OptionalGetElement", get_element}});
}

}  // namespace tandem::detail
