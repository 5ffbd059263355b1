#pragma once
#include <string>
#include <variant>
#include <vector>

#include "tandem/op/op.h"

namespace tandem::testing {

using FieldValue = std::variant<bool, int64_t, double, std::string, DType, Shape,
                                std::optional<int64_t>, std::optional<double>>;

/// Reads all attributes of a record whose type is not known.
class FieldReader final : public FieldVisitor {
 public:
  std::vector<std::pair<std::string, FieldValue>> fields;
  void visit(std::string_view n, bool& v) override { keep(n, v); }
  void visit(std::string_view n, int64_t& v) override { keep(n, v); }
  void visit(std::string_view n, double& v) override { keep(n, v); }
  void visit(std::string_view n, std::string& v) override { keep(n, v); }
  void visit(std::string_view n, DType& v) override { keep(n, v); }
  void visit(std::string_view n, Shape& v) override { keep(n, v); }
  void visit(std::string_view n, std::optional<int64_t>& v) override { keep(n, v); }
  void visit(std::string_view n, std::optional<double>& v) override { keep(n, v); }

 private:
  template <class T>
  void keep(std::string_view n, const T& v) {
    fields.emplace_back(std::string(n), FieldValue(v));
  }
};

/// Writes the attributes that FieldReader read, in the same order.
class FieldWriter final : public FieldVisitor {
 public:
  explicit FieldWriter(const std::vector<std::pair<std::string, FieldValue>>& f) : fields_(f) {}
  void visit(std::string_view, bool& v) override { take(v); }
  void visit(std::string_view, int64_t& v) override { take(v); }
  void visit(std::string_view, double& v) override { take(v); }
  void visit(std::string_view, std::string& v) override { take(v); }
  void visit(std::string_view, DType& v) override { take(v); }
  void visit(std::string_view, Shape& v) override { take(v); }
  void visit(std::string_view, std::optional<int64_t>& v) override { take(v); }
  void visit(std::string_view, std::optional<double>& v) override { take(v); }

 private:
  template <class T>
  void take(T& v) {
    v = std::get<T>(fields_.at(next_++).second);
  }
  const std::vector<std::pair<std::string, FieldValue>>& fields_;
  size_t next_ = 0;
};

/// A record with default attributes, owned here.
class OwnedOp {
 public:
  explicit OwnedOp(const OpInfo& info) : info_(info), memory_(::operator new(info.size)) {
    info.make_default(memory_);
  }
  ~OwnedOp() {
    if (info_.destroy) info_.destroy(memory_);
    ::operator delete(memory_);
  }
  OwnedOp(const OwnedOp&) = delete;
  OwnedOp& operator=(const OwnedOp&) = delete;
  void* get() const { return memory_; }

 private:
  const OpInfo& info_;
  void* memory_;
};

}  // namespace tandem::testing
