#include "tandem/log/summary_writer.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <map>
#include <mutex>
#include <protozero/pbf_writer.hpp>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/io/detail/utf8.h"
#include "tandem/io/file.h"
#include "tandem/log/event_file.h"
#include "tandem/op/copy.h"

namespace tandem {

namespace {

using protozero::pbf_writer;

// Field numbers of tensorboard/compat/proto: event.proto, summary.proto, histogram.proto and
// tensor.proto (the same as TensorFlow's).
namespace field {
constexpr uint32_t event_wall_time = 1, event_step = 2, event_file_version = 3, event_graph_def = 4,
                   event_summary = 5;
constexpr uint32_t summary_value = 1;
constexpr uint32_t value_tag = 1, value_simple_value = 2, value_histogram = 5, value_tensor = 8,
                   value_metadata = 9;
constexpr uint32_t histogram_min = 1, histogram_max = 2, histogram_num = 3, histogram_sum = 4,
                   histogram_sum_squares = 5, histogram_bucket_limit = 6, histogram_bucket = 7;
constexpr uint32_t metadata_plugin_data = 1, plugin_data_plugin_name = 1;
constexpr uint32_t tensor_dtype = 1, tensor_shape = 2, tensor_string_val = 8, shape_dim = 2,
                   dim_size = 1;
}  // namespace field
constexpr int32_t dt_string = 7;

double wall_time_now() {
  using namespace std::chrono;
  return duration<double>(system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] ? name : "localhost";
}

/// Its first event says what follows; a reader takes the file for a log of events by it.
std::unique_ptr<RecordWriter> open_events(const std::string& folder, const std::string& suffix) {
  static std::atomic<uint32_t> counter{0};
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  require<IOError>(!code, "SummaryWriter(", folder,
                   "): cannot make the folder: ", [&] { return code.message(); });
  const double now = wall_time_now();
  auto file = std::make_unique<RecordWriter>(cat(folder, "/events.out.tfevents.", int64_t(now), ".",
                                                 host_name(), ".", int64_t(::getpid()), ".",
                                                 counter.fetch_add(1), suffix));
  std::string bytes;
  pbf_writer e(bytes);
  e.add_double(field::event_wall_time, now);
  e.add_string(field::event_file_version, "brain.Event:2");
  file->write(bytes);
  file->flush();
  return file;
}

/// The whole event, with one value of the summary filled by `fill`.
template <class Fill>
std::string summary_event(std::string_view tag, int64_t step, const Fill& fill) {
  std::string bytes;
  pbf_writer e(bytes);
  e.add_double(field::event_wall_time, wall_time_now());
  e.add_int64(field::event_step, step);
  pbf_writer s(e, field::event_summary);
  pbf_writer v(s, field::summary_value);
  v.add_string(field::value_tag, tag.data(), tag.size());
  fill(v);
  v.commit();
  s.commit();
  return bytes;
}

std::string scalar_event(std::string_view tag, double x, int64_t step) {
  return summary_event(tag, step,
                       [&](pbf_writer& v) { v.add_float(field::value_simple_value, float(x)); });
}

/// The borders between buckets, rising, as tensorflow/core/lib/histogram makes them.
std::vector<double> bucket_borders() {
  std::vector<double> positive, all;
  for (double v = 1e-12; v < 1e20; v *= 1.1) positive.push_back(v);
  for (size_t i = positive.size(); i-- > 0;) all.push_back(-positive[i]);
  all.push_back(0);
  all.insert(all.end(), positive.begin(), positive.end());
  return all;
}

struct Histogram {
  double min = 0, max = 0, num = 0, sum = 0, sum_squares = 0;
  std::vector<double> limits,
      counts;  // counts[i] values lie below limits[i] and not below the last
};

Histogram make_histogram(const Tensor& values, const std::string& what) {
  const Tensor plain = detail::as_contiguous(detail::plain_tensor(values, what), f64);
  const std::span<const double> all = plain.span<const double>();
  const std::vector<double> borders = bucket_borders();
  std::vector<double> counts(borders.size() - 1);
  Histogram h;
  h.min = INFINITY;
  h.max = -INFINITY;
  for (double x : all) {
    if (!std::isfinite(x)) continue;
    h.min = std::min(h.min, x);
    h.max = std::max(h.max, x);
    h.num += 1;
    h.sum += x;
    h.sum_squares += x * x;
    const auto after = std::upper_bound(borders.begin(), borders.end(), x) - borders.begin();
    // What lies beyond the outermost borders goes into the outermost buckets.
    counts[size_t(std::clamp<int64_t>(after - 1, 0, int64_t(counts.size()) - 1))] += 1;
  }
  require<ValueError>(h.num > 0, what, ": of ", int64_t(all.size()), " values none is finite");
  // An empty bucket in front carries the left border of the first one with values.
  size_t first = 0, last = counts.size() - 1;
  while (counts[first] == 0) ++first;
  while (counts[last] == 0) --last;
  h.limits.push_back(borders[first]);
  h.counts.push_back(0);
  for (size_t i = first; i <= last; ++i) {
    h.limits.push_back(borders[i + 1]);
    h.counts.push_back(counts[i]);
  }
  return h;
}

}  // namespace

struct SummaryWriter::State {
  std::string folder;
  SummaryWriterOptions options;
  std::mutex mutex;
  std::unique_ptr<RecordWriter> file;
  std::map<std::string, std::unique_ptr<RecordWriter>> others;  // of add_scalars, by their folder
  std::chrono::steady_clock::time_point flushed = std::chrono::steady_clock::now();

  void flush() {
    file->flush();
    for (auto& [name, other] : others) other->flush();
    flushed = std::chrono::steady_clock::now();
  }
  void write(RecordWriter& to, const std::string& bytes) {
    to.write(bytes);
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - flushed;
    if (waited.count() >= options.flush_seconds) flush();
  }
  /// What errors call a call; the text that goes into a message must be UTF-8.
  std::string what(const char* call, std::string_view tag, std::string_view text = {}) const {
    const bool good = detail::is_utf8(tag);
    std::string name = cat("SummaryWriter(", folder, ").", call, "(", good ? tag : "...", ")");
    require<ValueError>(good, name, ": the tag is not UTF-8");
    require<ValueError>(detail::is_utf8(text), name, ": the text is not UTF-8");
    return name;
  }
};

SummaryWriter::SummaryWriter(std::string folder, SummaryWriterOptions options)
    : state_(std::make_unique<State>()) {
  if (folder.empty()) {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    char text[64] = {};
    std::strftime(text, sizeof text, "%b%d_%H-%M-%S", ::localtime_r(&now, &local));
    folder = cat("runs/", text, "_", host_name());
  }
  state_->file = open_events(folder, options.suffix);
  state_->folder = std::move(folder);
  state_->options = std::move(options);
}

SummaryWriter::~SummaryWriter() = default;
SummaryWriter::SummaryWriter(SummaryWriter&&) noexcept = default;
SummaryWriter& SummaryWriter::operator=(SummaryWriter&&) noexcept = default;

void SummaryWriter::add_scalar(std::string_view tag, double value, int64_t step) {
  state_->what("add_scalar", tag);
  const std::lock_guard lock(state_->mutex);
  state_->write(*state_->file, scalar_event(tag, value, step));
}

void SummaryWriter::add_scalars(std::string_view tag,
                                std::initializer_list<std::pair<std::string_view, double>> values,
                                int64_t step) {
  std::string prefix = cat(state_->folder, "/", tag, "_");
  std::replace(prefix.begin() + long(state_->folder.size()) + 1, prefix.end(), '/', '_');
  const std::lock_guard lock(state_->mutex);
  for (const auto& [name, value] : values) {
    state_->what("add_scalars", tag, name);
    auto& other = state_->others[cat(prefix, name)];
    if (!other) other = open_events(cat(prefix, name), state_->options.suffix);
    state_->write(*other, scalar_event(tag, value, step));
  }
}

void SummaryWriter::add_histogram(std::string_view tag, const Tensor& values, int64_t step) {
  const Histogram h = make_histogram(values, state_->what("add_histogram", tag));
  const std::string bytes = summary_event(tag, step, [&](pbf_writer& v) {
    pbf_writer p(v, field::value_histogram);
    p.add_double(field::histogram_min, h.min);
    p.add_double(field::histogram_max, h.max);
    p.add_double(field::histogram_num, h.num);
    p.add_double(field::histogram_sum, h.sum);
    p.add_double(field::histogram_sum_squares, h.sum_squares);
    p.add_packed_double(field::histogram_bucket_limit, h.limits.begin(), h.limits.end());
    p.add_packed_double(field::histogram_bucket, h.counts.begin(), h.counts.end());
  });
  const std::lock_guard lock(state_->mutex);
  state_->write(*state_->file, bytes);
}

void SummaryWriter::add_text(std::string_view tag, std::string_view text, int64_t step) {
  state_->what("add_text", tag, text);
  const std::string bytes = summary_event(cat(tag, "/text_summary"), step, [&](pbf_writer& v) {
    {
      pbf_writer t(v, field::value_tensor);
      t.add_enum(field::tensor_dtype, dt_string);
      {
        pbf_writer shape(t, field::tensor_shape);
        pbf_writer(shape, field::shape_dim).add_int64(field::dim_size, 1);
      }
      t.add_bytes(field::tensor_string_val, text.data(), text.size());
    }
    pbf_writer m(v, field::value_metadata);
    pbf_writer(m, field::metadata_plugin_data).add_string(field::plugin_data_plugin_name, "text");
  });
  const std::lock_guard lock(state_->mutex);
  state_->write(*state_->file, bytes);
}

void SummaryWriter::add_graph_def(std::string_view graph_def) {
  std::string bytes;
  pbf_writer e(bytes);
  e.add_double(field::event_wall_time, wall_time_now());
  e.add_bytes(field::event_graph_def, graph_def.data(), graph_def.size());
  const std::lock_guard lock(state_->mutex);
  state_->write(*state_->file, bytes);
}

void SummaryWriter::flush() {
  const std::lock_guard lock(state_->mutex);
  state_->flush();
}

void SummaryWriter::close() {
  const std::lock_guard lock(state_->mutex);
  state_->file->close();
  for (auto& [name, other] : state_->others) other->close();
}

const std::string& SummaryWriter::folder() const { return state_->folder; }
const std::string& SummaryWriter::path() const { return state_->file->path(); }

}  // namespace tandem
