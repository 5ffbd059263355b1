"""Writes tests/golden/optim.npz: what PyTorch's optimizers and schedulers do.

Every case updates three parameters for 100 steps with the gradients in `gradients` (the same for
all cases); the last parameter gets one at even steps only. `NAME.f64` and `NAME.f32` hold the
parameters after steps 1, 10 and 100. `lr.NAME` are the learning rates of a schedule, one row a
step and one column a group; `momentum.NAME` the momenta beside them; `clip.*` clipped gradients.
"""

import pathlib

import numpy as np
import torch
from torch.optim import lr_scheduler as S

SHAPES = [(3, 5), (4,), (2, 3, 2)]
STEPS, KEPT = 100, (1, 10, 100)

CASES = {
    "sgd": (torch.optim.SGD, dict(lr=0.1)),
    "sgd_decay": (torch.optim.SGD, dict(lr=0.1, weight_decay=0.05)),
    "sgd_momentum": (torch.optim.SGD, dict(lr=0.05, momentum=0.9)),
    "sgd_dampening": (
        torch.optim.SGD,
        dict(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.01),
    ),
    "sgd_nesterov": (
        torch.optim.SGD,
        dict(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    ),
    "sgd_maximize": (torch.optim.SGD, dict(lr=0.01, momentum=0.5, maximize=True, weight_decay=0.1)),
    "adam": (torch.optim.Adam, dict(lr=0.01)),
    "adam_options": (
        torch.optim.Adam,
        dict(lr=0.02, betas=(0.4, 0.95), eps=1e-4, weight_decay=0.1, maximize=True),
    ),
    "adam_amsgrad": (torch.optim.Adam, dict(lr=0.01, amsgrad=True, weight_decay=0.01)),
    "adamw": (torch.optim.AdamW, dict(lr=0.01)),
    "adamw_amsgrad": (torch.optim.AdamW, dict(lr=0.02, weight_decay=0.2, amsgrad=True)),
    "rmsprop": (torch.optim.RMSprop, dict(lr=0.01)),
    "rmsprop_centered": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, centered=True)),
    "rmsprop_momentum": (
        torch.optim.RMSprop,
        dict(lr=0.01, momentum=0.7, weight_decay=0.05, maximize=True),
    ),
    "rmsprop_both": (
        torch.optim.RMSprop,
        dict(lr=0.01, alpha=0.95, momentum=0.6, centered=True, eps=1e-6),
    ),
    "adagrad": (torch.optim.Adagrad, dict(lr=0.1)),
    "adagrad_options": (
        torch.optim.Adagrad,
        dict(lr=0.1, lr_decay=0.02, weight_decay=0.1, initial_accumulator_value=0.3),
    ),
    "adagrad_maximize": (torch.optim.Adagrad, dict(lr=0.1, eps=1e-3, maximize=True)),
}


def inputs():
    rng = np.random.default_rng(7)
    start = [rng.standard_normal(s) for s in SHAPES]
    # Steps of different sizes, some entries always zero.
    gradients = rng.standard_normal((STEPS, 31)) * rng.uniform(0.1, 3, (STEPS, 1))
    gradients[:, 3] = 0
    return start, gradients


def split(flat):
    out, at = [], 0
    for shape in SHAPES:
        n = int(np.prod(shape))
        out.append(flat[at : at + n].reshape(shape))
        at += n
    return out


def trajectory(make, options, dtype):
    start, gradients = inputs()
    params = [torch.nn.Parameter(torch.tensor(p, dtype=dtype)) for p in start]
    optimizer = make(params, foreach=False, **options)
    rows = []
    for step in range(STEPS):
        for i, (p, g) in enumerate(zip(params, split(gradients[step]))):
            p.grad = None if i == 2 and step % 2 else torch.tensor(g, dtype=dtype)
        optimizer.step()
        if step + 1 in KEPT:
            rows.append(torch.cat([p.detach().reshape(-1) for p in params]).numpy())
    return np.stack(rows)


def optimizer(lrs=(0.1, 0.03), make=torch.optim.SGD, **options):
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=lr) for lr in lrs]
    return make(groups, lr=1.0, **options)


def rates(opt, scheduler, steps, metrics=None):
    lrs, momenta = [], []
    for i in range(steps):
        lrs.append([g["lr"] for g in opt.param_groups])
        momenta.append([g.get("momentum", g.get("betas", (0,))[0]) for g in opt.param_groups])
        opt.step()
        scheduler.step(*([] if metrics is None else [metrics[i]]))
    return np.array(lrs, np.float64), np.array(momenta, np.float64)


def sequential(opt):
    parts = [S.LinearLR(opt, 0.1, total_iters=4), S.CosineAnnealingLR(opt, 9),
             S.StepLR(opt, 2, 0.7)]
    return S.SequentialLR(opt, parts, [4, 13])


SCHEDULES = {
    "step": (lambda o: S.StepLR(o, 3, 0.7), 20),
    "multistep": (lambda o: S.MultiStepLR(o, [2, 5, 5, 9], 0.3), 15),
    "exponential": (lambda o: S.ExponentialLR(o, 0.93), 30),
    "cosine": (lambda o: S.CosineAnnealingLR(o, 10, 0.001), 45),
    "linear": (lambda o: S.LinearLR(o, 0.2, 0.9, 7), 12),
    "linear_default": (lambda o: S.LinearLR(o), 9),
    "lambda": (lambda o: S.LambdaLR(o, lambda e: 1 / (1 + 0.5 * e)), 12),
    "sequential": (sequential, 25),
    "onecycle": (lambda o: S.OneCycleLR(o, 0.5, total_steps=40), 40),
    "onecycle_options": (
        lambda o: S.OneCycleLR(
            o,
            [0.5, 0.2],
            epochs=5,
            steps_per_epoch=7,
            pct_start=0.25,
            anneal_strategy="linear",
            base_momentum=0.7,
            max_momentum=0.9,
            div_factor=10.0,
            final_div_factor=100.0,
            three_phase=True,
        ),
        35,
    ),
}


def main():
    start, gradients = inputs()
    out = {f"start{i}": p for i, p in enumerate(start)} | {"gradients": gradients}
    for name, (make, options) in CASES.items():
        out[f"{name}.f64"] = trajectory(make, options, torch.float64)
        out[f"{name}.f32"] = trajectory(make, options, torch.float32)
    for name, (make, steps) in SCHEDULES.items():
        opt = optimizer(momentum=0.8)
        out[f"lr.{name}"], out[f"momentum.{name}"] = rates(opt, make(opt), steps)
    opt = optimizer(make=torch.optim.Adam)
    out["lr.onecycle_adam"], out["momentum.onecycle_adam"] = rates(
        opt, S.OneCycleLR(opt, 0.5, total_steps=20), 20
    )
    metrics = np.array(
        [1, 0.9, 0.95, 0.91, 0.93, 0.8, 0.81, 0.82, 0.80001, 0.9, 0.9, 0.9, 0.9, 0.7] + [0.75] * 20
    )
    out["metrics"] = metrics
    opt = optimizer()
    out["lr.plateau"] = rates(opt, S.ReduceLROnPlateau(opt, patience=2), len(metrics), metrics)[0]
    opt = optimizer()
    plateau = S.ReduceLROnPlateau(
        opt,
        mode="max",
        factor=0.5,
        patience=1,
        threshold=0.05,
        threshold_mode="abs",
        cooldown=2,
        min_lr=0.004,
    )
    out["lr.plateau_max"] = rates(opt, plateau, len(metrics), metrics)[0]

    for name, kind in [("two", 2.0), ("one", 1.0), ("inf", float("inf")), ("three", 3.0)]:
        params = [torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for s in SHAPES]
        for p, g in zip(params, split(gradients[0])):
            p.grad = torch.tensor(g)
        total = torch.nn.utils.clip_grad_norm_(params, 0.7, kind)
        out[f"clip.{name}"] = torch.cat([p.grad.reshape(-1) for p in params]).numpy()
        out[f"clip.{name}.norm"] = total.numpy()
    np.savez_compressed(pathlib.Path(__file__).parent / "optim.npz", **out)


if __name__ == "__main__":
    main()
