"""Prints tandem/ops/gelu_table.h: gelu and its gradient as polynomials of degree 4 on intervals.

usage: gelu_table.py | clang-format --style=file > tandem/ops/gelu_table.h

Interval i has the middle i / 4 and the width 1 / 4; of the first one the right half is fitted. The
polynomials go through five Chebyshev points; the last interval is 0.
"""

import math
import struct

STEP, COUNT, DEGREE = 0.25, 32, 4


def tail(a):
    return math.erfc(a / math.sqrt(2)) / 2


def gelu(a):
    return -a * tail(a)


def gradient(a):
    return tail(a) - a * math.exp(-a * a / 2) / math.sqrt(2 * math.pi)


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def through(f, low, high, count):
    """The coefficients, lowest first, of the polynomial through `count` Chebyshev points of f."""
    angles = [math.pi * (k + 0.5) / count for k in range(count)]
    x = [(low + high) / 2 + (high - low) / 2 * math.cos(t) for t in angles]
    y = [f(v) for v in x]
    for k in range(1, count):  # divided differences
        for i in range(count - 1, k - 1, -1):
            y[i] = (y[i] - y[i - 1]) / (x[i] - x[i - k])
    c = [0.0] * count
    for i in range(count - 1, -1, -1):  # c = c (d - x_i) + y_i
        c = [(c[k - 1] if k else y[i]) - x[i] * c[k] for k in range(count)]
    return c


def value(c, d):
    return sum(v * d**k for k, v in enumerate(c))


def fit(f, zero_at_zero):
    """The coefficients of every interval, and the largest error of these polynomials."""
    table, worst = [], 0.0
    for i in range(COUNT):
        middle, low = i * STEP, -STEP / 2 if i else 0.0
        if i == COUNT - 1:
            c = [0.0] * (DEGREE + 1)
        elif i == 0 and zero_at_zero:  # f(d) / d, so that small values keep their relative error
            c = [-0.0] + through(lambda d: f(d) / d, low, STEP / 2, DEGREE)
        else:
            c = through(lambda d: f(middle + d), low, STEP / 2, DEGREE + 1)
        c = [f32(v) for v in c]
        table.append(c)
        for k in range(1001):
            d = low + (STEP / 2 - low) * k / 1000
            worst = max(worst, abs(value(c, d) - f(middle + d)))
    return table, worst


def text(x):
    mantissa, exponent = x.hex().split("p")
    return mantissa.rstrip("0").rstrip(".") + "p" + exponent + "f" if x else str(x) + "f"


def declare(name, doc, f, zero_at_zero):
    table, worst = fit(f, zero_at_zero)
    print(f"/// {doc}, a >= 0; largest error {worst:.1e}.")
    print(f"alignas(64) inline constexpr float {name}[{DEGREE + 1}][{COUNT}] = {{")
    rows = (", ".join(text(c[k]) for c in table) for k in range(DEGREE + 1))
    print("{" + "},\n{".join(rows) + "}};")


print("#pragma once")
print("// Made by tools/gelu_table.py. Coefficients of d^k on 32 intervals: a = i / 4 + d.")
print("\nnamespace tandem::detail {\n")
declare("gelu_table", "-a Phi(-a)", gelu, True)
print()
declare("gelu_grad_table", "Phi(-a) - a phi(a)", gradient, False)
print("\n}  // namespace tandem::detail")
