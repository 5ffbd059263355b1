#include "tandem/log/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "tandem/op/copy.h"

namespace tandem {

namespace {

constexpr double redraw_seconds = 0.1;
constexpr int bar_cells = 24;

/// Four significant digits, as short as they are: "0.3124", "87.65", "12".
std::string short_number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}

double now() {
  const auto t = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(t).count();
}

int terminal_width(std::FILE* file) {
  winsize size{};
  if (file && ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

bool is_terminal(std::FILE* file) { return file && isatty(fileno(file)) == 1; }

std::string duration_text(double seconds) {
  const auto s = int64_t(std::max(0.0, std::ceil(seconds)));
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02d:%02d", static_cast<long long>(s / 3600),
                  int(s / 60 % 60), int(s % 60));
  else std::snprintf(text, sizeof text, "%d:%02d", int(s / 60), int(s % 60));
  return text;
}

std::string thousands(double value) {
  const std::string digits = cat(int64_t(std::llround(value)));
  std::string s;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > (digits[0] == '-') && (digits.size() - i) % 3 == 0) s.push_back(',');
    s.push_back(digits[i]);
  }
  return s;
}

Progress::Progress(ProgressOptions options)
    : options_(std::move(options)),
      bar_(options_.bar.value_or(!options_.write && is_terminal(options_.file))),
      start_(now()) {
  // The bar appears at once; a line would have nothing to say yet.
  if (!bar_) shown_ = start_;
}

double Progress::seconds() const { return now() - start_; }
double Progress::rate() const {
  const double s = seconds();
  return s > 0 ? double(samples_) / s : 0;
}

void Progress::update(int64_t samples, std::initializer_list<ProgressValue> values) {
  if (finished_) return;
  ++steps_;
  samples_ += samples;
  const double since = now() - shown_;
  const bool due = since >= (bar_ ? redraw_seconds : options_.line_seconds);
  if (!due && steps_ < options_.total) return;
  values_.clear();
  for (const ProgressValue& v : values) values_ += cat("  ", v.name, " ", short_number(v.value));
  if (due) show(false);
}

void Progress::finish() {
  if (finished_) return;
  show(true);
  finished_ = true;
}

void Progress::show(bool last) {
  shown_ = now();
  const double time = seconds();
  const double part =
      options_.total > 0 ? std::min(1.0, double(steps_) / double(options_.total)) : 1.0;
  std::string line = options_.label;
  if (!line.empty()) line += "  ";
  if (bar_) {
    const int full = int(part * bar_cells);
    for (int i = 0; i < bar_cells; ++i) line += i < full ? "█" : "░";
    line += "  ";
  }
  char percent[16];
  std::snprintf(percent, sizeof percent, "%3.0f %%", 100 * part);
  line += percent;
  line += values_;
  if (samples_ > 0) line += cat("  ", thousands(rate()), " ", options_.unit, "/s");
  if (last) line += "  took " + duration_text(time);
  else if (part > 0) line += "  " + duration_text(time / part - time) + " left";
  if (bar_) {
    // A line that wraps could not be redrawn; only its bytes above 127 take no column of their own.
    int columns = 0;
    size_t end = 0;
    const int width = terminal_width(options_.write ? nullptr : options_.file) - 1;
    while (end < line.size() && columns < width) {
      ++end;
      while (end < line.size() && (uint8_t(line[end]) & 0xc0) == 0x80) ++end;
      ++columns;
    }
    line.resize(end);
    line = "\r" + line + "\x1b[K";
  }
  if (last || !bar_) line += '\n';
  write(line);
}

void Progress::write(std::string_view text) {
  if (options_.write) {
    options_.write(text, options_.user);
  } else if (options_.file) {
    std::fwrite(text.data(), 1, text.size(), options_.file);
    std::fflush(options_.file);
  }
}

std::string draw_images(const Tensor& images, std::span<const std::string> captions, bool colours) {
  const Shape& s = images.shape();
  require<ShapeError>(s.size() == 3 || (s.size() == 4 && s[1] == 1),
                      "draw_images: needs [n, h, w] or [n, 1, h, w], got ", s);
  const int64_t n = s[0], h = s[s.size() - 2], w = s[s.size() - 1];
  const Tensor plain = detail::as_contiguous(images, f32);
  // 0..1 for each pixel, each picture stretched by itself.
  std::vector<float> v(plain.data<float>(), plain.data<float>() + plain.numel());
  for (int64_t i = 0; i < n && h * w > 0; ++i) {
    const auto begin = v.begin() + i * h * w, end = begin + h * w;
    const auto [low, high] = std::minmax_element(begin, end);
    const float a = *low, range = *high > *low ? *high - *low : 1;
    std::transform(begin, end, begin, [&](float x) { return (x - a) / range; });
  }
  const auto pixel = [&](int64_t i, int64_t y, int64_t x) {
    return y < h ? v[size_t((i * h + y) * w + x)] : 0.0f;
  };
  std::string out;
  for (int64_t y = 0; y < h; y += 2) {  // a character is two pixels high
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t x = 0; x < w; ++x) {
        const float top = pixel(i, y, x), bottom = pixel(i, y + 1, x);
        if (colours) {
          const auto grey = [](float p) { return int(std::lround(p * 23)) + 232; };
          out += cat("\x1b[38;5;", grey(top), ";48;5;", grey(bottom), "m▀");
        } else {
          constexpr std::string_view ramp = " .:-=+*#%@";
          out += ramp[size_t(std::lround((top + bottom) / 2 * float(ramp.size() - 1)))];
        }
      }
      out += colours ? "\x1b[0m  " : "  ";
    }
    out += '\n';
  }
  for (int64_t i = 0; i < n && size_t(i) < captions.size(); ++i) {
    std::string text = captions[size_t(i)].substr(0, size_t(w));
    text.resize(size_t(w) + 2, ' ');
    out += text;
  }
  if (!captions.empty()) {
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  }
  return out;
}

}  // namespace tandem
