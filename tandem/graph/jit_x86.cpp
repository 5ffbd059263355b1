#include "tandem/graph/jit_code.h"

#if TANDEM_XBYAK
#include <xbyak/xbyak.h>

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace tandem::graph {
namespace {

using lanes::Code;
using lanes::Instruction;
using Xbyak::Operand;

struct TooMuch {};

/// Registers are given out over the straight line by next use, the furthest one is spilled.
/// Constants and numbers sit in registers that the program leaves over, else in memory. Masks are
/// computed where a `select` reads them.
class Generator : public Xbyak::CodeGenerator {
 public:
  Generator(std::vector<char>& memory, const lanes::Program& p, std::span<const Jit::Input> in,
            std::span<const DType> out, cpu::Isa isa)
      : CodeGenerator(memory.size(), memory.data()),
        code_(p.code),
        results_(p.results),
        in_(in),
        out_(out),
        wide_(isa == cpu::Isa::avx512),
        last_(wide_ ? 32 : 16) {
    find_uses();
  }

  /// Appends a function whose invariants may use `spare` registers: its place.
  size_t function(bool streaming, int spare) {
    streaming_ = streaming;
    const size_t start = getSize();
    kept_.assign(code_.size(), -1);
    first_ = scratch_registers;
    choose_kept(spare);
    emit_function();
    return start;
  }
  /// Registers that the last function left alone.
  int left_over() const { return last_ - most_; }
  void constants() {
    align(64);
    for (size_t id = 0; id < code_.size(); ++id) {
      if (!label_used_[id]) continue;
      L(labels_[id]);
      if (code_[id].code == Code::table) {
        for (int i = 0; i < (wide_ ? 16 : 32); ++i) dd(std::bit_cast<uint32_t>(code_[id].data[i]));
        continue;
      }
      for (int i = 0; i < (wide_ ? 1 : 8); ++i) dd(code_[id].bits);
    }
  }

 private:
  static constexpr int scratch_registers = 3;
  static constexpr int pointers = 8;
  static constexpr int value_bytes = 64;

  const std::vector<Instruction>& code_;
  const std::vector<int>& results_;
  std::span<const Jit::Input> in_;
  std::span<const DType> out_;
  const bool wide_;
  bool streaming_ = false;
  int first_ = scratch_registers;  // of the registers for values
  const int last_;                 // behind them

  std::vector<std::vector<int>> uses_;  // positions that read a value, in order
  std::vector<char> live_;
  std::vector<int> kept_;     // the register of an invariant, for the whole loop
  std::vector<int> where_;    // the register of a value now
  std::vector<int> slot_;     // its place on the stack
  std::array<int, 32> held_;  // the value of a register now
  std::vector<int> busy_;     // values that this position still reads
  int slots_ = 0, most_ = 0;
  std::vector<Xbyak::Label> labels_;
  std::vector<char> label_used_;
  size_t frame_at_ = 0;

  const Instruction& at(int id) const { return code_[size_t(id)]; }
  bool invariant(int id) const {
    const Instruction& i = at(id);
    return i.code == Code::constant || i.code == Code::table ||
           (i.code == Code::input && in_[i.bits].number);
  }
  int end() const { return int(code_.size()); }

  void leaves(int id, std::vector<int>& out) const {
    if (id < 0) return;
    const Instruction& i = at(id);
    if (!lanes::is_mask(i.code)) return void(out.push_back(id));
    leaves(i.a, out);
    leaves(i.b, out);
  }
  std::vector<int> operands(int id) const {
    std::vector<int> all;
    const Instruction& i = at(id);
    for (int o : {i.a, i.b, i.c}) leaves(o, all);
    return all;
  }
  void find_uses() {
    const size_t n = code_.size();
    uses_.resize(n);
    live_.assign(n, 0);
    for (int id : results_) live_[size_t(id)] = 1;
    for (size_t k = n; k-- > 0;) {
      if (!live_[k] || lanes::is_mask(code_[k].code)) continue;
      for (int id : operands(int(k))) {
        live_[size_t(id)] = 1;
        uses_[size_t(id)].push_back(int(k));
      }
    }
    for (auto& u : uses_) std::reverse(u.begin(), u.end());
    for (int id : results_) uses_[size_t(id)].push_back(end());
    labels_.resize(n);
    label_used_.assign(n, 0);
  }

  // --- Operands ---

  Xbyak::Xmm v(int index) const {
    return wide_ ? Xbyak::Xmm(Xbyak::Zmm(index)) : Xbyak::Xmm(Xbyak::Ymm(index));
  }
  Xbyak::Label& label(int id) {
    label_used_[size_t(id)] = 1;
    return labels_[size_t(id)];
  }
  Xbyak::Address memory_of_invariant(int id) {
    const Instruction& i = at(id);
    if (i.code == Code::table) return ptr[rip + label(id)];
    if (i.code == Code::constant) {
      return wide_ ? ptr_b[rip + label(id)] : ptr[rip + label(id)];
    }
    const int offset = int(i.bits) * 32;
    return wide_ ? ptr_b[rsi + offset] : ptr[rsi + offset];
  }
  void load_invariant(const Xbyak::Xmm& to, int id) {
    const Instruction& i = at(id);
    if (!wide_ || i.code == Code::table) return vmovups(to, memory_of_invariant(id));
    if (i.code != Code::constant) return vbroadcastss(to, ptr[rsi + int(i.bits) * 32]);
    if (i.bits == 0) {
      const Xbyak::Xmm low(to.getIdx());
      if (to.getIdx() < 16) return vxorps(low, low, low);
    }
    vbroadcastss(to, ptr[rip + label(id)]);
  }
  Xbyak::Reg64 pointer(int array) {
    const Xbyak::Reg64 regs[pointers] = {r8, r9, r10, rbx, r12, r13, r14, r15};
    if (array < pointers) return regs[array];
    const int n_in = int(in_.size());
    mov(r11, array < n_in ? ptr[rdi + array * 8] : ptr[rdx + (array - n_in) * 8]);
    return r11;
  }
  Xbyak::Address slot(int id) { return ptr[rsp + slot_[size_t(id)] * value_bytes]; }

  /// In a register if it is there, else where it lies in memory.
  struct Place {
    Xbyak::Xmm reg;
    Xbyak::Address mem;
    bool in_register;
    const Operand& operand() const {
      if (in_register) return reg;
      return mem;
    }
  };
  Place place(int id) {
    const int r = kept_[size_t(id)] >= 0 ? kept_[size_t(id)] : where_[size_t(id)];
    if (r >= 0) return {v(r), ptr[rsp], true};
    if (invariant(id)) return {v(0), memory_of_invariant(id), false};
    return {v(0), slot(id), false};
  }
  /// In a register: `spare` when it lies in memory.
  Xbyak::Xmm in_register(int id, int spare) {
    const Place p = place(id);
    if (p.in_register) return p.reg;
    load(v(spare), id);
    return v(spare);
  }
  void load(const Xbyak::Xmm& to, int id) {
    if (kept_[size_t(id)] < 0 && invariant(id)) return load_invariant(to, id);
    const Place p = place(id);
    if (p.in_register) vmovaps(to, p.reg);
    else vmovups(to, p.mem);
  }

  // --- Registers ---

  int next_use(int id, int now) const {
    const auto& u = uses_[size_t(id)];
    const auto it = std::lower_bound(u.begin(), u.end(), now);
    return it == u.end() ? end() + 1 : *it;
  }
  bool dies(int id, int now) const { return !invariant(id) && next_use(id, now + 1) > end(); }
  void release(int id) {
    const int r = where_[size_t(id)];
    if (r < 0) return;
    held_[size_t(r)] = -1;
    where_[size_t(id)] = -1;
  }
  int take(int id, int now) {
    int best = -1, furthest = -1;
    for (int r = first_; r < last_; ++r) {
      const int other = held_[size_t(r)];
      if (other < 0) {
        best = r;
        furthest = -1;
        break;
      }
      if (std::find(busy_.begin(), busy_.end(), other) != busy_.end()) continue;
      const int next = next_use(other, now);
      if (next > furthest) furthest = next, best = r;
    }
    if (best < 0) throw TooMuch{};
    if (const int other = held_[size_t(best)]; other >= 0) {
      if (slot_[size_t(other)] < 0) {
        slot_[size_t(other)] = slots_++;
        vmovups(slot(other), v(best));
      }
      release(other);
    }
    held_[size_t(best)] = id;
    where_[size_t(id)] = best;
    most_ = std::max(most_, best + 1);
    return best;
  }
  void release_dead(const std::vector<int>& read, int now) {
    for (int id : read)
      if (dies(id, now)) release(id);
  }

  void choose_kept(int spare) {
    std::vector<std::pair<int, int>> by_use;
    for (int id = 0; id < end(); ++id)
      if (live_[size_t(id)] && invariant(id) && !uses_[size_t(id)].empty() &&
          (wide_ || at(id).code != Code::table))
        by_use.emplace_back(-int(uses_[size_t(id)].size()), id);
    std::sort(by_use.begin(), by_use.end());
    for (const auto& [count, id] : by_use) {
      if (spare-- <= 0) break;
      kept_[size_t(id)] = first_++;
    }
  }

  // --- Code ---

  void emit_function() {
    where_.assign(code_.size(), -1);
    slot_.assign(code_.size(), -1);
    held_.fill(-1);
    slots_ = 0;
    most_ = first_;
    const Xbyak::Reg64 saved[] = {rbx, r12, r13, r14, r15};
    push(rbp);
    mov(rbp, rsp);
    for (const auto& r : saved) push(r);
    and_(rsp, -64);
    sub(rsp, dword_frame());
    for (int k = 0; k < std::min(pointers, int(in_.size() + out_.size())); ++k)
      (void)load_pointer(k);
    for (int id = 0; id < end(); ++id)
      if (kept_[size_t(id)] >= 0) load_invariant(v(kept_[size_t(id)]), id);
    xor_(eax, eax);
    align(32);
    Xbyak::Label loop;
    L(loop);
    if (streaming_) prefetch();
    for (int id = 0; id < end(); ++id)
      if (live_[size_t(id)]) emit_one(id);
    for (size_t k = 0; k < results_.size(); ++k) store(int(k), results_[k]);
    add(rax, wide_ ? 16 : 8);
    cmp(rax, rcx);
    jb(loop, T_NEAR);
    vzeroupper();
    lea(rsp, ptr[rbp - 40]);
    for (int k = 4; k >= 0; --k) pop(saved[k]);
    pop(rbp);
    ret();
    patch_frame();
  }
  /// The size of the frame is known at the end only: four bytes wide, and written then.
  int dword_frame() {
    frame_at_ = getSize() + 3;
    return 0x10000;
  }
  void patch_frame() {
    const uint32_t bytes = uint32_t(slots_ * value_bytes);
    for (int i = 0; i < 4; ++i) rewrite(frame_at_ + size_t(i), bytes >> (8 * i) & 255, 1);
  }
  Xbyak::Reg64 load_pointer(int array) {
    const Xbyak::Reg64 r = pointer(array);
    const int n_in = int(in_.size());
    mov(r, array < n_in ? ptr[rdi + array * 8] : ptr[rdx + (array - n_in) * 8]);
    return r;
  }
  void prefetch() {
    constexpr int ahead = 2048;
    for (size_t k = 0; k < in_.size(); ++k)
      if (!in_[k].number && in_[k].dtype == f32 && int(k) < pointers)
        prefetcht0(ptr[pointer(int(k)) + rax * 4 + ahead]);
  }

  void emit_one(int id) {
    const Instruction& i = at(id);
    if (lanes::is_mask(i.code) || invariant(id)) return;
    if (i.code == Code::input) return;  // where it is read
    const std::vector<int> read = operands(id);
    busy_ = read;
    for (int o : read) bring(o, id);
    switch (i.code) {
      case Code::fma:
      case Code::fms:
      case Code::fnma: fused(id, i, read); break;
      case Code::select: select(id, i, read); break;
      case Code::look_up: look_up(id, i, read); break;
      default: plain(id, i, read); break;
    }
    busy_.clear();
    if (uses_[size_t(id)].empty()) release(id);
  }
  /// Loads an array's lanes at their first use. What was spilled is read from the stack.
  void bring(int id, int now) {
    const Instruction& i = at(id);
    if (i.code != Code::input || in_[i.bits].number) return;
    if (where_[size_t(id)] >= 0 || slot_[size_t(id)] >= 0) return;
    const Xbyak::Xmm to = v(take(id, now));
    const Xbyak::Reg64 p = pointer(int(i.bits));
    if (in_[i.bits].dtype == f32) return vmovups(to, ptr[p + rax * 4]);
    vpmovzxbd(to, ptr[p + rax]);
    vcvtdq2ps(to, to);
  }

  static bool commutes(Code c) {
    return c == Code::add || c == Code::mul || c == Code::bit_and || c == Code::bit_or ||
           c == Code::bit_xor || c == Code::int_add;
  }
  void plain(int id, const Instruction& i, const std::vector<int>& read) {
    int a = i.a, b = i.b;
    if (b >= 0 && commutes(i.code) && !place(a).in_register && place(b).in_register)
      std::swap(a, b);
    // vmulps and the like read memory in the second place only.
    const bool one = b < 0;
    const Xbyak::Xmm x = in_register(a, 0);
    const Place y = place(one ? a : b);
    release_dead(read, id);
    const Xbyak::Xmm to = v(take(id, id));
    const Operand& o = y.operand();
    switch (i.code) {
      case Code::add: return vaddps(to, x, o);
      case Code::sub: return vsubps(to, x, o);
      case Code::mul: return vmulps(to, x, o);
      case Code::div: return vdivps(to, x, o);
      case Code::min: return vminps(to, x, o);
      case Code::max: return vmaxps(to, x, o);
      case Code::bit_and: return vandps(to, x, o);
      case Code::bit_or: return vorps(to, x, o);
      case Code::bit_xor: return vxorps(to, x, o);
      case Code::int_add: return vpaddd(to, x, o);
      case Code::int_sub: return vpsubd(to, x, o);
      case Code::shift_left: return vpslld(to, x, uint8_t(i.bits));
      case Code::shift_right: return vpsrad(to, x, uint8_t(i.bits));
      case Code::sqrt: return vsqrtps(to, x);
      case Code::to_float: return vcvtdq2ps(to, x);
      case Code::floor: return round(to, x, 9);
      case Code::ceil: return round(to, x, 10);
      case Code::trunc: return round(to, x, 11);
      case Code::rint: return round(to, x, 8);
      default: throw TooMuch{};
    }
  }
  void round(const Xbyak::Xmm& to, const Xbyak::Xmm& x, uint8_t how) {
    if (wide_) vrndscaleps(to, x, how);
    else vroundps(to, x, how);
  }

  void fused(int id, const Instruction& i, const std::vector<int>& read) {
    int a = i.a, b = i.b;
    const int c = i.c;
    auto here = [&](int x) { return dies(x, id) && where_[size_t(x)] >= 0; };
    if (here(c) && c != a && c != b) {  // to = a b + to
      if (!place(a).in_register) std::swap(a, b);
      const Xbyak::Xmm to = place(c).reg, x = in_register(a, 0);
      const Place y = place(b);
      if (i.code == Code::fma) vfmadd231ps(to, x, y.operand());
      else if (i.code == Code::fms) vfmsub231ps(to, x, y.operand());
      else vfnmadd231ps(to, x, y.operand());
      return become(id, c, read);
    }
    if (!here(a) && here(b)) std::swap(a, b);
    Xbyak::Xmm to;
    const bool reuse = here(a);
    if (reuse) {
      to = place(a).reg;
    } else {
      if (place(a).in_register && !place(b).in_register) std::swap(a, b);
      to = v(take(id, id));
      load(to, a);
    }
    const Xbyak::Xmm x = in_register(b, 0);  // to = to x + c
    const Place z = place(c);
    if (i.code == Code::fma) vfmadd213ps(to, x, z.operand());
    else if (i.code == Code::fms) vfmsub213ps(to, x, z.operand());
    else vfnmadd213ps(to, x, z.operand());
    if (reuse) return become(id, a, read);
    release_dead(read, id);
  }
  /// The result lies in the register of `old`, which is read no more.
  void become(int id, int old, const std::vector<int>& read) {
    const int r = where_[size_t(old)];
    release(old);
    held_[size_t(r)] = id;
    where_[size_t(id)] = r;
    for (int o : read)
      if (o != old && dies(o, id)) release(o);
  }

  void select(int id, const Instruction& i, const std::vector<int>& read) {
    mask(i.a, false, 0);
    const Xbyak::Xmm otherwise = in_register(i.c, 2);
    const Place chosen = place(i.b);
    release_dead(read, id);
    const Xbyak::Xmm to = v(take(id, id));
    if (wide_) vblendmps(to | k1, otherwise, chosen.operand());
    else vblendvps(to, otherwise, chosen.operand(), v(0));
  }
  void look_up(int id, const Instruction& i, const std::vector<int>& read) {
    const Xbyak::Xmm index = in_register(i.a, 0);
    if (wide_) {
      const Xbyak::Xmm low = in_register(i.b, 1);
      const Place high = place(i.c);
      release_dead(read, id);
      const Xbyak::Xmm to = v(take(id, id));
      if (to.getIdx() != index.getIdx()) vmovaps(to, index);
      return vpermi2ps(to, low, high.operand());
    }
    vpslld(v(0), index, 27);
    vpsrld(v(0), v(0), 27);
    vpcmpeqd(v(1), v(1), v(1));
    release_dead(read, id);
    lea(r11, ptr[rip + label(i.b)]);  // the whole table: there, low and high are one
    vgatherdps(v(take(id, id)), ptr[r11 + v(0) * 4], v(1));
  }
  /// Into k1 and up, or scratch registers 0 and 1.
  void mask(int id, bool negated, int depth) {
    if (depth > (wide_ ? 5 : 1)) throw TooMuch{};
    const Instruction& m = at(id);
    switch (m.code) {
      case Code::mask_not: return mask(m.a, !negated, depth);
      case Code::mask_and:
      case Code::mask_or: {
        mask(m.a, negated, depth);
        mask(m.b, negated, depth + 1);
        const bool all = (m.code == Code::mask_and) != negated;
        if (wide_) {
          const Xbyak::Opmask x(depth + 1), y(depth + 2);
          if (all) kandw(x, x, y);
          else korw(x, x, y);
        } else {
          const Xbyak::Xmm x = v(depth), y = v(depth + 1);
          if (all) vandps(x, x, y);
          else vorps(x, x, y);
        }
        return;
      }
      default: break;
    }
    const Xbyak::Xmm x = in_register(m.a, wide_ ? 0 : depth);
    const Place y = place(m.b);
    uint8_t how = m.code == Code::less         ? 1
                  : m.code == Code::less_equal ? 2
                  : m.code == Code::equal      ? 0
                                               : 4;
    if (negated) how ^= 4;
    if (wide_) vcmpps(Xbyak::Opmask(depth + 1), x, y.operand(), how);
    else vcmpps(v(depth), x, y.operand(), how);
  }

  void store(int k, int id) {
    busy_ = {id};
    bring(id, end());
    busy_.clear();
    const Xbyak::Xmm x = in_register(id, 0);
    const Xbyak::Reg64 p = pointer(int(in_.size()) + k);
    if (out_[size_t(k)] == f32) {
      if (streaming_) vmovntps(ptr[p + rax * 4], x);
      else vmovups(ptr[p + rax * 4], x);
      return;
    }
    vcvttps2dq(v(1), x);
    if (wide_) return vpmovdb(ptr[p + rax], Xbyak::Zmm(1));
    const Xbyak::Xmm low(1), high(2);
    vextracti128(high, Xbyak::Ymm(1), 1);
    vpackssdw(low, low, high);
    vpacksswb(low, low, low);
    vmovq(ptr[p + rax], low);
  }
};

}  // namespace

MachineCode generate(const lanes::Program& program, std::span<const Jit::Input> in,
                     std::span<const DType> out, bool streaming, cpu::Isa isa) {
  MachineCode made;
  std::vector<char> memory(size_t(256) << 10);
  try {
    // A first try counts the registers that the program itself needs.
    Generator trial(memory, program, in, out, isa);
    trial.function(false, 0);
    Generator g(memory, program, in, out, isa);
    made.plain = g.function(false, trial.left_over());
    if (streaming) {
      g.align(64);
      made.streaming = g.function(true, trial.left_over());
    }
    g.constants();
    g.ready();
    memory.resize(g.getSize());
    made.bytes = std::move(memory);
  } catch (const TooMuch&) {
  } catch (const Xbyak::Error&) {}
  return made;
}

}  // namespace tandem::graph

#else

namespace tandem::graph {

MachineCode generate(const lanes::Program&, std::span<const Jit::Input>, std::span<const DType>,
                     bool, cpu::Isa) {
  return {};
}

}  // namespace tandem::graph
#endif
