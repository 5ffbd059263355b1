#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "tandem/op/op.h"

namespace tandem::graph {

/// The numbers of a record in the order of its fields. `Use` is called with each of them and may
/// write it.
template <class Use>
class Numbers final : public FieldVisitor {
 public:
  explicit Numbers(const Use& use) : use_(use) {}
  void visit(std::string_view, bool&) override {}
  void visit(std::string_view, std::string&) override {}
  void visit(std::string_view, DType&) override {}
  void visit(std::string_view n, int64_t& v) override { use_(n, v); }
  void visit(std::string_view n, double& v) override { use_(n, v); }
  void visit(std::string_view n, Shape& v) override {
    for (Length& d : v) use_(n, d);
  }
  void visit(std::string_view n, std::optional<int64_t>& v) override {
    if (v) use_(n, *v);
  }
  void visit(std::string_view n, std::optional<double>& v) override {
    if (v) use_(n, *v);
  }
  void visit(std::string_view n, Length& v) override { use_(n, v); }
  void visit(std::string_view n, Number& v) override { use_(n, v); }
  void visit(std::string_view n, std::optional<Length>& v) override {
    if (v) use_(n, *v);
  }
  void visit(std::string_view n, std::optional<Number>& v) override {
    if (v) use_(n, *v);
  }

 private:
  const Use& use_;
};
/// Calls use(name, number) for each number of a record; numbers of a shape come one by one.
template <class Use>
void each_number(const OpInfo& info, void* op, const Use& use) {
  Numbers<Use> visitor(use);
  info.visit(op, visitor);
}

}  // namespace tandem::graph
