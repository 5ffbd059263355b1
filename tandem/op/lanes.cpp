#include "tandem/op/lanes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace tandem::lanes {
namespace {

constexpr int max_runs = 64;
constexpr size_t max_length = 1024;

/// The instructions of one functor, over all of its runs.
struct Writer {
  Program program;
  bool failed = false;
  struct Decision {
    int mask;
    bool taken;
  };
  std::vector<Decision> path;
  size_t fixed = 0;  // decisions of the path that this run was told

  int add(const Instruction& i) {
    if (program.code.size() >= max_length) failed = true;
    return failed ? 0 : append(program, i);
  }
  const Instruction& at(int id) const { return program.code[size_t(id)]; }
  bool constant(int id, float& x) const {
    const Instruction& i = at(id);
    if (i.code != Code::constant) return false;
    x = std::bit_cast<float>(i.bits);
    return true;
  }
  bool is_number(int id, float what) const {
    const Instruction& i = at(id);
    return i.code == Code::constant && i.bits == std::bit_cast<uint32_t>(what);
  }
};
thread_local Writer* writer = nullptr;

bool fold(Code code, float x, float y, float& result) {
  switch (code) {
    case Code::add: result = x + y; return true;
    case Code::sub: result = x - y; return true;
    case Code::mul: result = x * y; return true;
    case Code::div: result = x / y; return true;
    default: return false;
  }
}

/// What the instruction is equal to without computing it; -1: nothing simpler.
int simpler(Writer& w, const Instruction& i) {
  float x = 0, y = 0, z = 0;
  switch (i.code) {
    case Code::add:
    case Code::sub:
    case Code::mul:
    case Code::div:
      if (w.constant(i.a, x) && w.constant(i.b, y) && fold(i.code, x, y, z)) return emit_number(z);
      if (i.code == Code::mul && w.is_number(i.a, 1.0f)) return i.b;
      if ((i.code == Code::mul || i.code == Code::div) && w.is_number(i.b, 1.0f)) return i.a;
      if (i.code == Code::sub && w.is_number(i.b, 0.0f)) return i.a;
      return -1;
    case Code::select: {
      if (i.b == i.c) return i.b;
      const Instruction m = w.at(i.a);
      // Those of x86: the second operand when one is NaN or both are zero.
      if (m.code == Code::less && m.a == i.b && m.b == i.c)
        return w.add({.code = Code::min, .a = i.b, .b = i.c});
      if (m.code == Code::less && m.a == i.c && m.b == i.b)
        return w.add({.code = Code::max, .a = i.b, .b = i.c});
      return -1;
    }
    case Code::not_equal:
    case Code::equal: {
      // A mask that was made a number, 1 or 0, and is asked for again.
      const Instruction s = w.at(i.a);
      if (s.code != Code::select || !w.is_number(i.b, 0.0f) || !w.is_number(s.b, 1.0f) ||
          !w.is_number(s.c, 0.0f))
        return -1;
      return i.code == Code::not_equal ? s.a : emit(Code::mask_not, s.a);
    }
    case Code::mask_not: return w.at(i.a).code == Code::mask_not ? w.at(i.a).a : -1;
    default: return -1;
  }
}

struct Explorer {
  Writer& w;
  Trace trace;
  const void* op;
  const F32* in;
  int runs = 0;

  /// The result of the functor when its first decisions are those of `prefix`.
  int explore(const std::vector<Writer::Decision>& prefix) {
    if (++runs > max_runs) w.failed = true;
    if (w.failed) return -1;
    w.path = prefix;
    w.fixed = 0;
    F32 y = F32::of(-1);
    trace(op, in, &y);
    int result = y.id;
    const std::vector<Writer::Decision> path = w.path;
    for (size_t k = path.size(); k-- > prefix.size();) {
      std::vector<Writer::Decision> other(path.begin(), path.begin() + int64_t(k));
      other.push_back({path[k].mask, false});
      const int otherwise = explore(other);
      if (w.failed) return -1;
      result = emit(Code::select, path[k].mask, result, otherwise);
    }
    return result;
  }
};

/// The instructions that a result needs, operands first, left before right, and who reads them.
struct Needed {
  struct Use {
    int reader;
    int place;
  };
  const std::vector<Instruction>& code;
  std::vector<std::vector<Use>> uses;
  std::vector<int> order;
  std::vector<char> seen;

  Needed(const std::vector<Instruction>& all, int result)
      : code(all), uses(all.size()), seen(all.size(), 0) {
    visit(result);
  }
  void visit(int id) {
    if (std::exchange(seen[size_t(id)], 1)) return;
    const Instruction& i = code[size_t(id)];
    int place = 0;
    for (int operand : {i.a, i.b, i.c}) {
      if (operand >= 0) {
        visit(operand);
        uses[size_t(operand)].push_back({id, place});
      }
      ++place;
    }
    order.push_back(id);
  }
};

/// As g++ contracts: a product becomes part of the sums that read it when nothing else does; of
/// two products in a sum the left one.
void contract(std::vector<Instruction>& code, int result) {
  const Needed needed(code, result);
  for (int id : needed.order) {
    const Instruction m = code[size_t(id)];
    if (m.code != Code::mul || id == result) continue;
    const auto& uses = needed.uses[size_t(id)];
    const bool all = std::all_of(uses.begin(), uses.end(), [&](const Needed::Use& u) {
      const Instruction& r = code[size_t(u.reader)];
      return (r.code == Code::add || r.code == Code::sub) && r.a != r.b;
    });
    if (!all) continue;
    for (const Needed::Use& u : uses) {
      Instruction& r = code[size_t(u.reader)];
      const int other = u.place == 0 ? r.b : r.a;
      const Code c = r.code == Code::add ? Code::fma : u.place == 0 ? Code::fms : Code::fnma;
      r = {.code = c, .a = m.a, .b = m.b, .c = other};
    }
  }
}

}  // namespace

int emit(Code code, int a, int b, int c, uint32_t bits) {
  Writer& w = *writer;
  if (w.failed) return 0;
  const Instruction i{.code = code, .bits = bits, .a = a, .b = b, .c = c};
  const int known = simpler(w, i);
  return known >= 0 ? known : w.add(i);
}

int emit_number(float x) {
  return writer->add({.code = Code::constant, .bits = std::bit_cast<uint32_t>(x)});
}

int emit_look_up(const float* table, int index) {
  const int low = writer->add({.code = Code::table, .data = table});
  const int high = writer->add({.code = Code::table, .data = table + 16});
  return emit(Code::look_up, index, low, high);
}

bool decide(int mask) {
  Writer& w = *writer;
  if (w.failed) return false;
  for (const auto& d : w.path)
    if (d.mask == mask) return d.taken;
  w.path.push_back({mask, true});
  return true;
}

int give_up() {
  writer->failed = true;
  return 0;
}

int append(Program& program, const Instruction& instruction) {
  const auto it = std::find(program.code.begin(), program.code.end(), instruction);
  if (it != program.code.end()) return int(it - program.code.begin());
  program.code.push_back(instruction);
  return int(program.code.size()) - 1;
}

int append(Program& program, Trace trace, const void* op, std::span<const int> in) {
  Writer w;
  Writer* const outer = std::exchange(writer, &w);
  std::vector<F32> values;
  for (size_t i = 0; i < in.size(); ++i)
    values.push_back(F32::of(w.add({.code = Code::input, .bits = uint32_t(i)})));
  const int result = Explorer{w, trace, op, values.data()}.explore({});
  writer = outer;
  if (w.failed || result < 0) return -1;
  std::vector<Instruction>& code = w.program.code;
  contract(code, result);
  std::vector<int> there(code.size(), -1);
  auto moved = [&](int id) { return id < 0 ? -1 : there[size_t(id)]; };
  for (int id : Needed(code, result).order) {
    Instruction i = code[size_t(id)];
    if (i.code == Code::input) {
      there[size_t(id)] = in[i.bits];
      continue;
    }
    i.a = moved(i.a);
    i.b = moved(i.b);
    i.c = moved(i.c);
    there[size_t(id)] = append(program, i);
  }
  return there[size_t(result)];
}

}  // namespace tandem::lanes
