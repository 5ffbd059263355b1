#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "tandem/core/by_name.h"
#include "tandem/core/tensor.h"

namespace tandem {

struct SummaryWriterOptions {
  ByName by_name = ByName();
  std::string suffix = {};     ///< added to the name of every event file
  double flush_seconds = 120;  ///< what was added reaches the file at the latest by the first
                               ///< addition after so many seconds; no thread waits in between
};

/// Writes what a run measures into event files that TensorBoard shows: `tensorboard --logdir runs`.
/// The calls are those of torch.utils.tensorboard. May be used from several threads.
///
///     SummaryWriter writer;  // runs/Nov23_13-50-00_host
///     for (...) writer.add_scalar("loss/train", loss.item<double>(), step);
///
/// Tags and texts are UTF-8, a `/` in a tag groups charts; a step is any number that grows. Errors
/// of every call: IOError with the file; ValueError for text that is not UTF-8.
class TANDEM_API SummaryWriter {
 public:
  /// Makes the folder, and an event file in it. An empty name stands for runs/TIME_HOST. One folder
  /// is one run: a second writer in the same folder goes on with its charts.
  explicit SummaryWriter(std::string folder = {}, SummaryWriterOptions options = {});
  /// Closes; an error is lost here, `close` tells of it.
  ~SummaryWriter();
  SummaryWriter(SummaryWriter&&) noexcept;
  SummaryWriter& operator=(SummaryWriter&&) noexcept;

  /// One point of a curve; TensorBoard keeps values as f32.
  void add_scalar(std::string_view tag, double value, int64_t step);
  /// One point of several curves in one chart. Each name becomes a run of its own, in the folder
  /// TAG_NAME inside this one, as in PyTorch.
  void add_scalars(std::string_view tag,
                   std::initializer_list<std::pair<std::string_view, double>> values, int64_t step);
  /// How the tensor's values are spread, in TensorFlow's buckets, which grow by a tenth from
  /// 1e-12 to 1e20 on both sides of zero. NaN and infinities are not counted.
  /// Errors: ValueError when no finite value is left; DeviceError.
  void add_histogram(std::string_view tag, const Tensor& values, int64_t step);
  /// Text as Markdown.
  void add_text(std::string_view tag, std::string_view text, int64_t step);
  /// The run's graph: a serialised tensorflow.GraphDef.
  void add_graph_def(std::string_view graph_def);

  /// Hands everything to the operating system.
  void flush();
  /// Flushes; nothing can be added afterwards.
  void close();
  const std::string& folder() const;
  /// The event file of this run.
  const std::string& path() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tandem
