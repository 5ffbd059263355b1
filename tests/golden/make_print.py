"""Writes tests/golden/print.npz: arrays and the text that NumPy prints for them.
usage: make_print.py"""

import pathlib

import numpy as np

rng = np.random.default_rng(7)
f32 = np.float32
cases = [
    np.arange(10),
    np.arange(-3, 9).reshape(3, 4),
    np.array([[1, 2.5], [3, 4]], f32),
    np.array([1, -np.inf, np.nan], f32),
    np.array([np.inf, 1], f32),
    np.array([np.nan, np.nan], f32),
    np.array([-np.inf], f32),
    np.array([1e-5, 1], f32),
    np.array([1e-5, -3.25e7, np.nan], f32),
    np.array([1e8, 1.5], f32),
    np.array([1e10, 2e-200, -1.5e100], np.float64),
    np.array([0.1, 0.12345678, -1000.5], f32),
    np.array([0.5, 0.25, 0.125, 0.0625, 0.03125], f32),
    np.zeros((2, 3), f32),
    np.array([-0.0, 0.0, 1.0], f32),
    np.array(3.0, f32),
    np.array(-2),
    np.array(True),
    np.array([True, False, True]),
    np.ones((2, 2), bool),
    np.arange(24).reshape(2, 3, 4),
    np.arange(16, dtype=f32).reshape(2, 2, 2, 2) / 3,
    np.arange(2000, dtype=f32),
    np.arange(3000).reshape(50, 60),
    np.arange(1200, dtype=f32).reshape(10, 2, 60) / 7,
    np.arange(1001).reshape(7, 11, 13),
    rng.standard_normal((3, 30)).astype(f32),
    rng.standard_normal((5, 5)),
    rng.standard_normal((2, 3, 4)) * 1e5,
    (rng.standard_normal(40) * 10).astype(f32).round(1),
    rng.integers(-1000, 1000, (4, 25)),
    rng.integers(0, 255, 6).astype(np.uint8),
    rng.standard_normal(5).astype(np.float16),
    np.array([], f32),
]
options = [(4, 1000, 3, 75)] * len(cases)
for i, o in ((21, (2, 1000, 3, 75)), (23, (4, 100, 2, 75)), (26, (6, 1000, 3, 40)),
             (20, (4, 10, 1, 75)), (30, (4, 1000, 3, 30)), (27, (8, 1000, 3, 120))):
    cases.append(cases[i])
    options.append(o)

out = {}
for i, (a, (precision, threshold, edge, width)) in enumerate(zip(cases, options)):
    text = np.array2string(a, precision=precision, threshold=threshold, edgeitems=edge,
                           max_line_width=width)
    out[f"{i:02}_array"] = a
    out[f"{i:02}_text"] = np.frombuffer(text.encode(), np.uint8)
    out[f"{i:02}_options"] = np.array([precision, threshold, edge, width])
np.savez_compressed(pathlib.Path(__file__).with_name("print.npz"), **out)
