#pragma once
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "tandem/core/by_name.h"
#include "tandem/core/tensor.h"

namespace tandem {

/// Where a progress display writes to, and how.
struct ProgressOptions {
  ByName by_name = ByName();
  int64_t total = 0;            ///< how many steps there will be
  std::string label = {};       ///< stands in front, "epoch 1/3"
  std::string unit = "images";  ///< what `samples` counts, shown as a rate
  std::FILE* file = stderr;     ///< ignored when `write` is given
  /// Receives the text instead of `file`, with `user` as its second argument.
  void (*write)(std::string_view text, void* user) = nullptr;
  void* user = nullptr;
  /// A bar that redraws itself, or plain lines; unset: a bar when `file` is a terminal.
  std::optional<bool> bar = {};
  double line_seconds = 10;  ///< plain lines: one each so many seconds, and a last one
};

/// One number beside the bar: "loss", 0.1234.
struct ProgressValue {
  std::string_view name;
  double value;
};

/// Shows how far a loop is: a bar on a terminal, now and then a line elsewhere. Nothing is printed
/// before the first `update`.
///
///     Progress progress({.total = loader.size(), .label = "epoch 1/3"});
///     for (...) progress.update(x.size(0), {{"loss", loss}, {"accuracy", accuracy}});
///     progress.finish();
class TANDEM_API Progress {
 public:
  explicit Progress(ProgressOptions options);
  /// One step with `samples` samples is done; the values replace the ones shown before.
  void update(int64_t samples, std::initializer_list<ProgressValue> values = {});
  /// The last line, with the time taken instead of the time left. Later calls do nothing.
  void finish();
  /// Samples per second so far.
  double rate() const;
  double seconds() const;

 private:
  void show(bool last);
  void write(std::string_view text);

  ProgressOptions options_;
  bool bar_, finished_ = false;
  int64_t steps_ = 0, samples_ = 0;
  std::string values_;
  double start_, shown_ = 0;  ///< seconds of a steady clock
};

/// "0:07", "12:34", "1:02:03"
TANDEM_API std::string duration_text(double seconds);
/// "12,345"
TANDEM_API std::string thousands(double value);

/// Pictures side by side as text: half blocks in shades of grey for a terminal with 256 colours,
/// or characters of growing darkness. `images` is [n, h, w] or [n, 1, h, w], any real dtype; each
/// picture is stretched from its least to its greatest value. Captions stand below, cut to fit.
/// Errors: ShapeError.
TANDEM_API std::string draw_images(const Tensor& images, std::span<const std::string> captions = {},
                                   bool colours = true);
/// Whether `file` is a terminal.
TANDEM_API bool is_terminal(std::FILE* file);

}  // namespace tandem
