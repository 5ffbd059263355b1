// ONNX's Einsum as products and reductions.
#include <algorithm>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sum.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

/// A tensor and a letter for each of its axes. Digits stand for the axes of an ellipsis.
struct Labelled {
  Tensor t;
  std::string axes;
};

bool has(const std::string& axes, char c) { return axes.find(c) != axes.npos; }

/// Its axes in that order; letters that it lacks are left out.
Labelled arranged(const Labelled& x, const std::string& order) {
  Labelled out{x.t, ""};
  Shape axes;
  for (char c : order)
    if (const size_t at = x.axes.find(c); at != x.axes.npos) {
      axes.push_back(int64_t(at));
      out.axes += c;
    }
  out.t = permute(x.t, axes);
  return out;
}
Labelled without(const Labelled& x, const std::string& kept) {
  Shape gone;
  Labelled out{x.t, ""};
  for (size_t i = 0; i < x.axes.size(); ++i) {
    if (has(kept, x.axes[i])) out.axes += x.axes[i];
    else gone.push_back(int64_t(i));
  }
  if (!gone.empty()) out.t = sum(x.t, gone);
  return out;
}

/// The sum of products over the letters that are not in `kept`.
Labelled contract(I& n, Labelled a, Labelled b, const std::string& kept) {
  a = without(a, kept + b.axes);
  b = without(b, kept + a.axes);
  std::string both, rows, columns, inner;
  for (char c : a.axes) (!has(b.axes, c) ? rows : has(kept, c) ? both : inner) += c;
  for (char c : b.axes)
    if (!has(a.axes, c)) columns += c;
  a = arranged(a, both + rows + inner);
  b = arranged(b, both + inner + columns);
  auto length = [&](const Labelled& x, const std::string& letters) {
    int64_t v = 1;
    for (char c : letters) v *= x.t.size(int(x.axes.find(c)));
    return v;
  };
  Shape shape;
  for (char c : both) {
    const int64_t p = a.t.size(int(a.axes.find(c))), q = b.t.size(int(b.axes.find(c)));
    n.need(p == q, "axes of lengths ", p, " and ", q, " have the same letter");
    shape.push_back(p);
  }
  for (char c : rows) shape.push_back(a.t.size(int(a.axes.find(c))));
  for (char c : columns) shape.push_back(b.t.size(int(b.axes.find(c))));
  const int64_t batch = length(a, both), k = length(a, inner);
  n.need(k == length(b, inner), "axes of different lengths have the same letter");
  const Tensor y = matmul(reshape(a.t, {batch, length(a, rows), k}),
                          reshape(b.t, {batch, k, length(b, columns)}));
  return {reshape(y, shape), both + rows + columns};
}

Tensors einsum(I& n) {
  std::string equation = n.text("equation", "");
  std::erase(equation, ' ');
  const size_t arrow = equation.find("->");
  std::vector<std::string> terms{""};
  for (char c : equation.substr(0, arrow)) {
    if (c == ',') terms.emplace_back();
    else terms.back() += c;
  }
  n.need(int(terms.size()) == n.inputs(), "equation ", equation, " for ", n.inputs(), " inputs");
  int widest = 0;  // axes of the ellipses
  std::vector<Labelled> all;
  std::string letters;
  for (int i = 0; i < n.inputs(); ++i) {
    Labelled x{n.in(i), terms[size_t(i)]};
    if (const size_t dots = x.axes.find("..."); dots != x.axes.npos) {
      const int rest = x.t.dim() - int(x.axes.size() - 3);
      n.need(rest >= 0 && rest < 10, "equation ", equation, " for shape ", x.t.shape());
      widest = std::max(widest, rest);
      std::string digits;  // the last axis of every ellipsis is 0
      for (int d = rest - 1; d >= 0; --d) digits += char('0' + d);
      x.axes.replace(dots, 3, digits);
    }
    n.need(int(x.axes.size()) == x.t.dim(), "equation ", equation, " for shape ", x.t.shape());
    for (size_t a = 0; a < x.axes.size();) {  // a letter twice is a diagonal
      const size_t again = x.axes.find(x.axes[a], a + 1);
      if (again == x.axes.npos) {
        ++a;
        continue;
      }
      x.t = diagonal(x.t, 0, int64_t(a), int64_t(again));
      const char c = x.axes[a];
      x.axes.erase(again, 1);
      x.axes.erase(a, 1);
      x.axes += c;
    }
    for (char c : terms[size_t(i)])
      if (c != '.') letters += c;
    all.push_back(std::move(x));
  }
  std::string ellipsis, out;
  for (int d = widest - 1; d >= 0; --d) ellipsis += char('0' + d);
  if (arrow == equation.npos) {
    out = ellipsis;
    std::string sorted = letters;
    std::sort(sorted.begin(), sorted.end());
    for (char c : sorted)
      if (std::count(letters.begin(), letters.end(), c) == 1) out += c;
  } else {
    out = equation.substr(arrow + 2);
    if (const size_t dots = out.find("..."); dots != out.npos) out.replace(dots, 3, ellipsis);
  }
  Labelled y = all[0];
  for (size_t i = 1; i < all.size(); ++i) {
    std::string kept = out;
    for (size_t k = i + 1; k < all.size(); ++k) kept += all[k].axes;
    y = contract(n, y, all[i], kept);
  }
  y = without(y, out);
  for (char c : out) n.need(has(y.axes, c), "equation ", equation, ": no input has ", c);
  return {arranged(y, out).t};
}

}  // namespace

void add_einsum_imports(OnnxImports& t) { t.insert({{"Einsum", einsum}}); }

}  // namespace tandem::detail
