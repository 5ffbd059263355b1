// NumPy's rules (numpy/core/arrayprint.py), written anew: one format for all elements of a tensor,
// chosen from those that are shown.
#include "tandem/core/print.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <vector>

namespace tandem {
namespace {

/// Digits before and behind the point of the shortest text that reads back as `v` (of type T).
template <class T>
std::string shortest_fixed(T v) {
  char buffer[512];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::fixed).ptr;
  return {buffer, end};
}
template <class T>
std::string shortest_scientific(T v) {
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::scientific).ptr;
  return {buffer, end};
}

/// The number that stands for `v` in print: of those that round to the same half, the shortest.
template <class T>
auto printed(T v) {
  if constexpr (!std::is_class_v<T>) {
    return v;
  } else {
    const float x = v;
    for (int digits = 0; digits < 5 && std::isfinite(x); ++digits) {
      char buffer[32];
      float y = x;
      const auto end =
          std::to_chars(buffer, buffer + sizeof buffer, x, std::chars_format::scientific, digits)
              .ptr;
      std::from_chars(buffer, end, y);
      if (T(y).bits == v.bits) return y;
    }
    return x;
  }
}

/// `v` rounded to `precision` digits, if it has more, and without zeros at the end.
template <class T>
std::string fixed_text(T v, int precision) {
  std::string s = shortest_fixed(v);
  size_t point = s.find('.');
  if (point != std::string::npos && s.size() - point - 1 > size_t(precision)) {
    char buffer[512];
    const auto end =
        std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::fixed, precision).ptr;
    s.assign(buffer, end);
    point = s.find('.');
  }
  if (point == std::string::npos) return s + ".";
  while (s.back() == '0') s.pop_back();
  return s;
}

/// Mantissa (with its point) and exponent of `v` at most `precision` digits long.
struct Scientific {
  std::string mantissa;
  int exponent;
};
template <class T>
Scientific scientific_text(T v, int precision) {
  std::string s = shortest_scientific(v);
  size_t e = s.find('e');
  if (e > size_t(precision) + 2 + (s[0] == '-')) {
    char buffer[64];
    const auto end =
        std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::scientific, precision)
            .ptr;
    s.assign(buffer, end);
    e = s.find('e');
  }
  Scientific out{s.substr(0, e), std::atoi(s.c_str() + e + 1)};
  if (out.mantissa.find('.') == std::string::npos) out.mantissa += '.';
  else
    while (out.mantissa.back() == '0') out.mantissa.pop_back();
  return out;
}

std::string exponent_text(int exponent, int digits) {
  std::string s = std::to_string(std::abs(exponent));
  while (int(s.size()) < digits) s.insert(0, 1, '0');
  return (exponent < 0 ? "e-" : "e+") + s;
}

/// Chooses one layout for floating numbers and writes each in it.
template <class T>
class FloatFormat {
 public:
  FloatFormat(const std::vector<T>& shown, int precision) : precision_(precision) {
    T largest = 0, smallest = 0;
    bool any = false, special = false, negative_special = false;
    for (T v : shown) {
      if (!std::isfinite(v)) {
        special = true;
        negative_special |= v < 0;
        continue;
      }
      const T a = std::abs(v);
      if (a == 0) continue;
      largest = any ? std::max(largest, a) : a;
      smallest = any ? std::min(smallest, a) : a;
      any = true;
    }
    scientific_ = any && (largest >= T(1e8) || smallest < T(1e-4) || largest / smallest > T(1e3));
    size_t left = 0, right = 0;
    for (T v : shown) {
      if (!std::isfinite(v)) continue;
      std::string s;
      if (scientific_) {
        const Scientific n = scientific_text(v, precision);
        s = n.mantissa;
        exponent_digits_ = std::max(exponent_digits_, std::abs(n.exponent) >= 100 ? 3 : 2);
      } else {
        s = fixed_text(v, precision);
      }
      const size_t point = s.find('.');
      left = std::max(left, point);
      right = std::max(right, s.size() - point - 1);
    }
    left_ = left;
    right_ = right;
    const size_t tail = scientific_ ? 2 + size_t(exponent_digits_) : 0;
    width_ = left_ + 1 + right_ + tail;
    if (special) width_ = std::max(width_, size_t(3 + negative_special));
    if (left == 0) width_ = size_t(3 + negative_special);
  }

  size_t width() const { return width_; }
  std::string operator()(T v) const {
    std::string s;
    if (std::isnan(v)) s = "nan";
    else if (std::isinf(v)) s = v < 0 ? "-inf" : "inf";
    else if (scientific_) {
      const Scientific n = scientific_text(v, precision_);
      s = padded(n.mantissa, '0') + exponent_text(n.exponent, exponent_digits_);
    } else {
      s = padded(fixed_text(v, precision_), ' ');
    }
    if (s.size() < width_) s.insert(0, width_ - s.size(), ' ');
    return s;
  }

 private:
  std::string padded(std::string s, char fill) const {
    s.append(right_ - (s.size() - s.find('.') - 1), fill);
    return s;
  }

  int precision_;
  bool scientific_ = false;
  int exponent_digits_ = 2;
  size_t left_ = 0, right_ = 0, width_ = 0;
};

/// Walks the elements that are shown and writes the brackets.
class Writer {
 public:
  Writer(const Tensor& t, const PrintOptions& o) : t_(t), o_(o) {
    summary_ = t.numel() > o.threshold;
  }

  std::string write() {
    const DType d = t_.dtype();
    if (t_.numel() > 0) visit(d, [&]<class T>() { write_as<T>(); });
    else out_ = t_.dim() == 1 ? "[]" : cat("[], shape=", t_.shape());
    if ((d != f32 && d != i64 && d != boolean) || (t_.numel() == 0 && d != f32))
      out_ += cat(", dtype=", d);
    return std::move(out_);
  }

 private:
  bool cut(int64_t n) const { return summary_ && n > 2 * o_.edgeitems; }

  template <class F>
  void each_shown(int axis, int64_t offset, const F& f) const {
    if (axis == t_.dim()) return f(offset);
    const int64_t n = t_.shape()[axis], step = t_.strides()[axis];
    for (int64_t i = 0; i < n; ++i) {
      if (cut(n) && i == o_.edgeitems) i = n - o_.edgeitems;
      each_shown(axis + 1, offset + i * step, f);
    }
  }

  template <class T>
  void write_as() {
    using V = std::conditional_t<std::is_class_v<T>, float, T>;
    const T* data = static_cast<const T*>(t_.raw_data());
    if constexpr (std::is_floating_point_v<V>) {
      std::vector<V> shown;
      each_shown(0, 0, [&](int64_t at) { shown.push_back(printed(data[at])); });
      const FloatFormat<V> format(shown, o_.precision);
      if (t_.dim() == 0) out_ = one(printed(*data));
      else brackets(0, 0, [&](int64_t at) { return format(printed(data[at])); });
    } else {
      size_t width = std::is_same_v<T, bool> ? 5 : 0;
      auto text = [&](int64_t at) -> std::string {
        if constexpr (std::is_same_v<T, bool>) return data[at] ? "True" : "False";
        else return std::to_string(data[at]);
      };
      each_shown(0, 0, [&](int64_t at) { width = std::max(width, text(at).size()); });
      if (t_.dim() == 0) out_ = text(0);
      else
        brackets(0, 0, [&](int64_t at) {
          std::string s = text(at);
          s.insert(0, width - s.size(), ' ');
          return s;
        });
    }
  }

  /// A number alone: no column to line up with.
  template <class T>
  std::string one(T v) const {
    return FloatFormat<T>({v}, o_.precision)(v);
  }

  template <class F>
  void brackets(int axis, int64_t offset, const F& text) {
    const int64_t n = t_.shape()[axis], step = t_.strides()[axis];
    const bool last = axis == t_.dim() - 1;
    out_ += '[';
    for (int64_t i = 0; i < n; ++i) {
      if (i > 0 && !last) new_line(axis + 1, size_t(t_.dim() - axis - 1));
      if (cut(n) && i == o_.edgeitems) {
        if (last) item("...", axis);
        else {
          out_ += "...";
          new_line(axis + 1, size_t(t_.dim() - axis - 1));
        }
        i = n - o_.edgeitems;
      }
      if (last) item(text(offset + i * step), axis);
      else brackets(axis + 1, offset + i * step, text);
    }
    fresh_ = true;
    out_ += ']';
  }

  /// An element of the last axis, on a new line when this one is full.
  void item(const std::string& s, int axis) {
    if (!fresh_) {
      const size_t line = out_.rfind('\n');
      const size_t used = out_.size() - (line == std::string::npos ? 0 : line + 1);
      if (int64_t(used + 1 + s.size()) > o_.linewidth - t_.dim()) {
        while (out_.back() == ' ') out_.pop_back();
        new_line(axis + 1, 1);
      } else {
        out_ += ' ';
      }
    }
    out_ += s;
    fresh_ = false;
  }

  void new_line(int indent, size_t lines) {
    out_.append(lines, '\n');
    out_.append(size_t(indent), ' ');
    fresh_ = true;
  }

  const Tensor& t_;
  const PrintOptions& o_;
  bool summary_, fresh_ = true;
  std::string out_;
};

}  // namespace

std::string to_string(const Tensor& t, const PrintOptions& options) {
  if (!t.defined()) return "undefined";
  if (t.is_symbolic()) return "symbolic " + to_string(t.spec());
  if (t.device().type != DeviceType::cpu) return to_string(t.spec());
  return Writer(t, options).write();
}

void print(const Tensor& t, const PrintOptions& options) {
  std::puts(to_string(t, options).c_str());
}

}  // namespace tandem
