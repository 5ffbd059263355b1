#pragma once
// Values that stand for the lanes of a vector register. A point functor called with them computes
// nothing: it writes down its own instructions, from which machine code is made. So a record's
// formula stands in one place, its `point`.
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "tandem/core/export.h"

namespace tandem::lanes {

/// What an instruction computes in each 32-bit lane. Operands `a`, `b`, `c` are numbers of earlier
/// instructions.
enum class Code : uint8_t {
  input,     ///< operand `bits` of the program
  constant,  ///< the bits of a number
  table,     ///< the 16 floats from `data` on
  add,
  sub,
  mul,
  div,
  fma,   ///< a b + c, rounded once
  fms,   ///< a b - c
  fnma,  ///< -(a b) + c
  min,   ///< a < b ? a : b
  max,   ///< a > b ? a : b
  sqrt,
  floor,
  ceil,
  trunc,
  rint,
  to_float,  ///< of a signed integer
  bit_and,
  bit_or,
  bit_xor,
  int_add,
  int_sub,
  shift_left,   ///< by `bits`
  shift_right,  ///< by `bits`, arithmetic
  less,         ///< from here to `mask_not`: masks
  less_equal,
  equal,
  not_equal,  ///< true when unordered
  mask_and,
  mask_or,
  mask_not,
  select,   ///< mask a ? b : c
  look_up,  ///< by the lowest five bits of a in the tables b and c, which lie one behind the other
};
constexpr bool is_mask(Code c) { return c >= Code::less && c <= Code::mask_not; }

struct Instruction {
  Code code;
  uint32_t bits = 0;
  int a = -1, b = -1, c = -1;
  const float* data = nullptr;
  bool operator==(const Instruction&) const = default;
};

/// A straight-line program without branches or memory, each value defined once.
struct Program {
  std::vector<Instruction> code;
  std::vector<int> results;
};

// --- Writing instructions down: what the values below do -----------------------------------------

TANDEM_API int emit(Code code, int a, int b = -1, int c = -1, uint32_t bits = 0);
TANDEM_API int emit_number(float x);
TANDEM_API int emit_look_up(const float* table, int index);
/// The direction that a branch on the mask takes in this run of the functor; the others follow in
/// further runs, whose results are joined by `select`.
TANDEM_API bool decide(int mask);
/// The functor needs what lanes do not have: no program is made from it.
TANDEM_API int give_up();

struct Mask {
  int id;
  operator bool() const { return decide(id); }
  friend Mask operator&(Mask a, Mask b) { return {emit(Code::mask_and, a.id, b.id)}; }
  friend Mask operator|(Mask a, Mask b) { return {emit(Code::mask_or, a.id, b.id)}; }
  friend Mask operator!(Mask a) { return {emit(Code::mask_not, a.id)}; }
};

/// 32-bit integers that wrap around; >> keeps the sign.
struct I32 {
  int id;
  I32() = default;
  explicit I32(int32_t x) : id(emit(Code::constant, -1, -1, -1, uint32_t(x))) {}
  explicit I32(uint32_t x) : id(emit(Code::constant, -1, -1, -1, x)) {}
  static I32 of(int id) {
    I32 v;
    v.id = id;
    return v;
  }
  template <class N>
  requires std::is_integral_v<N>
  friend I32 operator+(I32 a, N b) { return of(emit(Code::int_add, a.id, I32(b).id)); }
  template <class N>
  requires std::is_integral_v<N>
  friend I32 operator-(I32 a, N b) { return of(emit(Code::int_sub, a.id, I32(b).id)); }
  friend I32 operator-(I32 a, I32 b) { return of(emit(Code::int_sub, a.id, b.id)); }
  friend I32 operator<<(I32 a, int n) {
    return of(emit(Code::shift_left, a.id, -1, -1, uint32_t(n)));
  }
  friend I32 operator>>(I32 a, int n) {
    return of(emit(Code::shift_right, a.id, -1, -1, uint32_t(n)));
  }
};

struct F32 {
  int id;
  F32() = default;
  F32(float x) : id(emit_number(x)) {}
  template <class N>
  requires std::is_arithmetic_v<N>
  explicit F32(N x) : F32(float(x)) {}
  explicit F32(Mask m) : id(emit(Code::select, m.id, F32(1.0f).id, F32(0.0f).id)) {}
  static F32 of(int id) {
    F32 v;
    v.id = id;
    return v;
  }
  friend F32 operator+(F32 a, F32 b) { return of(emit(Code::add, a.id, b.id)); }
  friend F32 operator-(F32 a, F32 b) { return of(emit(Code::sub, a.id, b.id)); }
  friend F32 operator*(F32 a, F32 b) { return of(emit(Code::mul, a.id, b.id)); }
  friend F32 operator/(F32 a, F32 b) { return of(emit(Code::div, a.id, b.id)); }
  friend F32 operator-(F32 a) { return of(emit(Code::bit_xor, a.id, F32(-0.0f).id)); }
  F32& operator+=(F32 b) { return *this = *this + b; }
  F32& operator-=(F32 b) { return *this = *this - b; }
  friend Mask operator<(F32 a, F32 b) { return {emit(Code::less, a.id, b.id)}; }
  friend Mask operator>(F32 a, F32 b) { return b < a; }
  friend Mask operator<=(F32 a, F32 b) { return {emit(Code::less_equal, a.id, b.id)}; }
  friend Mask operator>=(F32 a, F32 b) { return b <= a; }
  friend Mask operator==(F32 a, F32 b) { return {emit(Code::equal, a.id, b.id)}; }
  friend Mask operator!=(F32 a, F32 b) { return {emit(Code::not_equal, a.id, b.id)}; }
};

inline I32 to_bits(F32 x) { return I32::of(x.id); }
inline F32 from_bits(I32 x) { return F32::of(x.id); }
inline I32 as_signed(I32 x) { return x; }
inline I32 as_unsigned(I32 x) { return x; }
inline F32 to_float(I32 x) { return F32::of(emit(Code::to_float, x.id)); }
inline F32 select(Mask m, F32 a, F32 b) { return F32::of(emit(Code::select, m.id, a.id, b.id)); }
inline I32 select(Mask m, I32 a, I32 b) { return I32::of(emit(Code::select, m.id, a.id, b.id)); }
/// table[i & 31]; the table stays where it is.
inline F32 look_up(const float* table, I32 i) { return F32::of(emit_look_up(table, i.id)); }
inline Mask both(Mask a, Mask b) { return a & b; }
inline F32 abs(F32 x) { return F32::of(emit(Code::bit_and, x.id, I32(0x7fffffff).id)); }
inline F32 copysign(F32 x, F32 sign) {
  const int s = emit(Code::bit_and, sign.id, F32(-0.0f).id);
  return F32::of(emit(Code::bit_or, abs(x).id, s));
}
inline F32 sqrt(F32 x) { return F32::of(emit(Code::sqrt, x.id)); }
inline F32 floor(F32 x) { return F32::of(emit(Code::floor, x.id)); }
inline F32 ceil(F32 x) { return F32::of(emit(Code::ceil, x.id)); }
inline F32 trunc(F32 x) { return F32::of(emit(Code::trunc, x.id)); }
inline F32 rint(F32 x) { return F32::of(emit(Code::rint, x.id)); }
inline F32 fmod(F32, F32) { return F32::of(give_up()); }

// --- From a functor to a program ----------------------------------------------------------------

/// Calls a point functor with values of this kind.
using Trace = void (*)(const void* op, const F32* in, F32* out);
/// Appends the functor's instructions to `program`, which has the values `in`: the number of its
/// result, or -1 when it cannot be written down. Products are contracted with the sums that they
/// go into where the compiler does that in the functor's own kernel.
TANDEM_API int append(Program& program, Trace trace, const void* op, std::span<const int> in);
/// Appends one instruction, or finds the equal one that is there.
TANDEM_API int append(Program& program, const Instruction& instruction);

}  // namespace tandem::lanes

template <>
struct std::numeric_limits<tandem::lanes::F32> {
  using F = tandem::lanes::F32;
  static constexpr bool is_specialized = true, is_integer = false;
  static F infinity() { return std::numeric_limits<float>::infinity(); }
  static F quiet_NaN() { return std::numeric_limits<float>::quiet_NaN(); }
  static F max() { return std::numeric_limits<float>::max(); }
  static F lowest() { return std::numeric_limits<float>::lowest(); }
};
