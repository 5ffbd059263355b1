// Modules are recorded at several lengths, so that the file holds for all of them.
#include <algorithm>
#include <map>

#include "tandem/core/length_table.h"
#include "tandem/graph/generalise.h"
#include "tandem/io/onnx.h"

namespace tandem::detail {
namespace {

/// A length that a run may choose: the axes that have it, and what it is in the examples.
struct Open {
  std::string name;
  std::vector<std::pair<size_t, int>> axes;
  int64_t example;
};

class Recorder {
 public:
  Recorder(std::span<const Tensor> examples, const SaveGraphOptions& options, Recordable& code)
      : examples_(examples), code_(code) {
    require(options.shapes.empty() || options.shapes.size() == examples.size(),
            "save(): ", options.shapes.size(), " shapes for ", examples.size(), " inputs");
    for (size_t i = 0; i < examples.size(); ++i) {
      Shape shape = examples[i].shape();
      if (options.shapes.empty()) {
        if (!shape.empty()) shape[0] = dim("batch");
      } else {
        shape = options.shapes[i];
        require<ShapeError>(shape.size() == examples[i].dim(), "save(): shape ", shape,
                            " for an example of shape ", examples[i].shape());
      }
      shapes_.push_back(shape);
      for (int a = 0; a < shape.size(); ++a) open(i, a, options.shapes.empty());
    }
  }

  std::shared_ptr<graph::Graph> run() {
    if (open_.empty()) return explain({record(shapes_)});
    // First every open length for itself; code that needs some of them equal says so by an error.
    std::string reason;
    for (const bool tied : {false, true}) {
      if (tied && !tie()) break;
      for (const auto& choice : {near, multiples}) {
        const auto recordings = record(choice, reason);
        if (recordings.size() >= 3) return explain(recordings);
      }
    }
    record(example_shapes());  // it may not run at all, which has an error of its own
    throw LengthError(cat("save(): the model runs for few lengths only: ", reason,
                          "; give the axes their lengths in options.shapes"));
  }

 private:
  void open(size_t input, int axis, bool shared) {
    Length& d = shapes_[input][axis];
    const std::string* name = LengthTable::dim_name(d);
    require<ShapeError>(d.is_known() ? d >= -1 : name != nullptr, "save(): shape ", shapes_[input],
                        " has a length that is neither a number, -1 nor dim()");
    const int64_t example = examples_[input].shape()[axis];
    if (d.is_known() && d >= 0) return;
    for (Open& o : open_)
      if (name && o.name == *name && (!shared || o.example == example)) {
        o.axes.emplace_back(input, axis);
        return;
      }
    const bool taken = name && std::any_of(open_.begin(), open_.end(),
                                           [&](const Open& o) { return o.name == *name; });
    open_.push_back({name && !taken ? *name : std::string(), {{input, axis}}, example});
    if (taken) d = -1;
  }

  /// Lengths without a name on one axis become one; false when there is nothing to tie.
  bool tie() {
    std::vector<Open> tied;
    for (Open& o : open_) {
      const auto same = std::find_if(tied.begin(), tied.end(), [&](const Open& t) {
        return t.name.empty() && o.name.empty() && t.axes[0].second == o.axes[0].second;
      });
      if (same == tied.end()) tied.push_back(std::move(o));
      else same->axes.insert(same->axes.end(), o.axes.begin(), o.axes.end());
    }
    const bool fewer = tied.size() < open_.size();
    open_ = std::move(tied);
    return fewer;
  }

  /// What open length number `k` is in recording number `sample`. Lengths of 0 and 1 mean something
  /// of their own to many ops, so they are not among them.
  using Choice = int64_t (*)(int64_t example, size_t k, size_t sample);
  static constexpr size_t samples = 6;
  static int64_t near(int64_t example, size_t k, size_t sample) {
    static constexpr int64_t more[samples] = {0, 1, 3, 4, 9, 5};
    return std::max<int64_t>(example, 2) + (sample == 0 ? 0 : more[1 + (sample - 1 + 2 * k) % 5]);
  }
  static int64_t multiples(int64_t example, size_t k, size_t sample) {
    static constexpr int64_t times[samples] = {1, 2, 3, 5, 4, 7};
    return std::max<int64_t>(example, 2) * (sample == 0 ? 1 : times[1 + (sample - 1 + 2 * k) % 5]);
  }

  std::vector<std::shared_ptr<const graph::Graph>> record(Choice choice, std::string& reason) {
    std::vector<std::shared_ptr<const graph::Graph>> all;
    for (size_t sample = 0; sample < samples; ++sample) {
      std::vector<Shape> shapes = shapes_;
      for (size_t k = 0; k < open_.size(); ++k)
        for (const auto& [input, axis] : open_[k].axes)
          shapes[input][axis] = choice(open_[k].example, k, sample);
      try {
        all.push_back(record(shapes));
      } catch (const ShapeError& e) {
        reason = e.what();
      } catch (const IndexError& e) {
        reason = e.what();
      } catch (const ValueError& e) {
        reason = e.what();
      }
    }
    return all;
  }

  std::vector<Shape> example_shapes() const {
    std::vector<Shape> shapes;
    for (const Tensor& t : examples_) shapes.push_back(t.shape());
    return shapes;
  }

  std::shared_ptr<const graph::Graph> record(const std::vector<Shape>& shapes) {
    const auto g = graph::Graph::make();
    const GraphScope scope(g);
    Tensors inputs, results;
    for (size_t i = 0; i < shapes.size(); ++i)
      inputs.push_back(g->input(shapes.size() == 1 ? "input" : cat("input", int64_t(i)),
                                {shapes[i], examples_[i].dtype(), {}}));
    code_.run(inputs, results);
    for (size_t i = 0; i < results.size(); ++i) g->output(cat("output", i), results[i]);
    return g;
  }

  std::shared_ptr<graph::Graph> explain(
      const std::vector<std::shared_ptr<const graph::Graph>>& recordings) {
    std::vector<Shape> names = shapes_;
    for (const Open& o : open_)
      for (const auto& [input, axis] : o.axes)
        names[input][axis] = o.name.empty() ? Length(-1) : dim(o.name);
    graph::Generalisation all(recordings[0], std::move(names));
    for (size_t k = 1; k < recordings.size(); ++k) {
      std::string why;
      if (!all.add(recordings[k], why))
        throw LengthError(cat("save(): the model does something else for other lengths: ", why,
                              "; give that axis its length in options.shapes"));
    }
    return all.graph();
  }

  std::span<const Tensor> examples_;
  Recordable& code_;
  std::vector<Shape> shapes_;
  std::vector<Open> open_;
};

}  // namespace

std::shared_ptr<graph::Graph> record_for_lengths(std::span<const Tensor> examples,
                                                 const SaveGraphOptions& options,
                                                 Recordable& code) {
  return Recorder(examples, options, code).run();
}

}  // namespace tandem::detail
