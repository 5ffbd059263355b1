#include "tandem/nn/container.h"

namespace tandem::nn {

void Sequential::push_back(std::string name, AnyModule m) {
  for (const Item& item : items_)
    require(item.name != name, "Sequential: the name ", name, " is taken");
  items_.push_back({std::move(name), std::move(m)});
}

const AnyModule& Sequential::operator[](size_t i) const {
  require<IndexError>(i < items_.size(), "Sequential: index ", i, " is out of range [0, ",
                      int64_t(items_.size()) - 1, "]");
  return items_[i].module;
}

void Sequential::visit(ModuleVisitor& v) {
  for (Item& item : items_) v.module(item.name, *item.module);
}

}  // namespace tandem::nn
