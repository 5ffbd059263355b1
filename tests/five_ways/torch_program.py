"""Runs programs of five_ways in PyTorch: program.h has the format, torch_ops.py the records."""

import math
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import torch_ops  # noqa: E402

DTYPES = torch_ops.DTYPES
nn = torch.nn


class Skip(Exception):
    """Why the program has no counterpart."""


def value_of(field):
    """An attribute as Python has it."""
    special = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    v = field["value"]
    return special.get(v, v) if field["type"].startswith("float") and isinstance(v, str) else v


MOST_TURNS = 1000
# Records that say so: their results are constants to whoever differentiates.
NO_GRADIENT = {"det"}


def has_ties(x, axis):
    if x.dim() == 0 or x.numel() == 0:
        return False
    return bool((x.detach().sort(axis).values.diff(dim=axis) == 0).any())


# --- Layers ------------------------------------------------------------------------------------

def convolution(kind):
    return lambda a: kind(a["in"], a["out"], a["kernel"], stride=a["stride"], padding=a["padding"],
                          groups=a["groups"], bias=a["bias"], padding_mode=a["mode"])


def sequence(kind):
    return lambda a: kind(a["in"], a["hidden"], num_layers=a["num_layers"],
                          batch_first=a["batch_first"], bidirectional=a["bidirectional"])


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    def forward(self, x):
        return torch_ops.adaptive_avg_pool2d(x, [self.output_size])


LAYERS = {
    "Linear": lambda a: nn.Linear(a["in"], a["out"], bias=a["bias"]),
    "Embedding": lambda a: nn.Embedding(a["num"], a["dim"]),
    "Conv1d": convolution(nn.Conv1d),
    "Conv2d": convolution(nn.Conv2d),
    "ConvTranspose2d": lambda a: nn.ConvTranspose2d(a["in"], a["out"], a["kernel"],
                                                    stride=a["stride"], padding=a["padding"]),
    "BatchNorm1d": lambda a: nn.BatchNorm1d(a["features"]),
    "BatchNorm2d": lambda a: nn.BatchNorm2d(a["features"]),
    "LayerNorm": lambda a: nn.LayerNorm(a["shape"]),
    "GroupNorm": lambda a: nn.GroupNorm(a["groups"], a["channels"]),
    "RNN": sequence(nn.RNN),
    "GRU": sequence(nn.GRU),
    "LSTM": sequence(nn.LSTM),
    "MultiheadAttention": lambda a: nn.MultiheadAttention(a["dim"], a["heads"],
                                                          batch_first=a["batch_first"]),
    "TransformerEncoderLayer": lambda a: nn.TransformerEncoderLayer(
        a["dim"], a["heads"], a["width"], 0.0, a["activation"], batch_first=a["batch_first"],
        norm_first=a["norm_first"]),
    "MaxPool2d": lambda a: nn.MaxPool2d(a["kernel"]),
    "AvgPool2d": lambda a: nn.AvgPool2d(a["kernel"]),
    "AdaptiveAvgPool2d": lambda a: AdaptiveAvgPool2d(a["size"]),
    "Flatten": lambda a: nn.Flatten(),
    "MSELoss": lambda a: nn.MSELoss(),
    "CrossEntropyLoss": lambda a: nn.CrossEntropyLoss(),
}


# --- Functions ---------------------------------------------------------------------------------

def part(parts, i):
    if not 0 <= i < len(parts):
        raise IndexError(f"part {i} of {len(parts)}")
    return parts[i]


def full(shape, value, dtype):
    dtype = DTYPES[dtype]
    return torch.full(shape, value, dtype=torch.float64).to(dtype)


FUNCTIONS = {
    "transpose": lambda a, x: x.transpose(a["axis0"], a["axis1"]),
    "flatten": lambda a, x: x.flatten(a["first"], a["last"]),
    "squeeze": lambda a, x: x.squeeze(a["axis"]),
    "squeeze_all": lambda a, x: x.squeeze(),
    "unsqueeze": lambda a, x: x.unsqueeze(a["axis"]),
    "movedim": lambda a, x: x.movedim(a["source"], a["destination"]),
    "narrow": lambda a, x: x.narrow(a["axis"], a["start"], a["length"]),
    "chunk": lambda a, x: part(x.chunk(a["chunks"], a["axis"]), a["part"]),
    "split": lambda a, x: part(x.split(a["size"], a["axis"]), a["part"]),
    "unbind": lambda a, x: part(x.unbind(a["axis"]), a["part"]),
    "view": lambda a, x: x.view(a["shape"]),
    "contiguous": lambda a, x: x.contiguous(),
    "detach": lambda a, x: x.detach(),
    "tile": lambda a, x: x.tile(a["repeats"]),
    "pow_number": lambda a, x: torch.pow(x, a["exponent"]),
    "zeros": lambda a: torch.zeros(a["shape"], dtype=DTYPES[a["dtype"]]),
    "ones": lambda a: torch.ones(a["shape"], dtype=DTYPES[a["dtype"]]),
    "full": lambda a: full(a["shape"], a["value"], a["dtype"]),
    "zeros_like": lambda a, x: torch.zeros_like(x.detach()).contiguous(),
    "ones_like": lambda a, x: torch.ones_like(x.detach()).contiguous(),
    "full_like": lambda a, x: torch.full(x.shape, a["value"], dtype=torch.float64).to(x.dtype),
    "eye": lambda a: torch.eye(a["n"], a["m"] if a["m"] >= 0 else a["n"]),
    "arange": lambda a: torch.arange(a["end"]),
    "linspace": lambda a: torch.linspace(a["start"], a["end"], a["steps"]),
}


class Machine:
    """One run: values by number. `noise` disturbs each result of a step a little."""

    def __init__(self, program, layers, values, noise=None, wide=False):
        self.program, self.layers, self.values = program, layers, dict(values)
        self.wide = wide  # everything floating is f64
        self.noise = torch.Generator().manual_seed(noise) if noise else None
        self.no_gradient = False  # a step differentiates by what PyTorch takes for a constant
        self.nan_is_open = False  # a step may or may not multiply padding by NaN
        self.gradient_nan_is_open = False  # where a cotangent is left out, 0 * infinity is NaN
        self.orders_nan = False  # a step looks for the largest of numbers with NaN

    # --- Numbers -------------------------------------------------------------------------------
    def number(self, e):
        kind = e["kind"]
        parts = [self.number(p) for p in e.get("parts", [])]
        if kind == "number":
            return int(e["value"])
        if kind == "real":
            return float(e["value"])
        if kind == "size":
            return self.values[e["of"]].shape[e["axis"]]
        if kind == "numel":
            return self.values[e["of"]].numel()
        a = parts[0]
        if kind == "sqrt":
            return math.sqrt(a)
        if kind == "log":
            return math.log(a) if a > 0 else -math.inf if a == 0 else math.nan
        b = parts[1]
        if kind == "ratio":
            return a / b if b else math.nan if a == 0 or a != a else math.copysign(math.inf, a)
        if kind == "div":  # C++ rounds towards zero
            return int(a / b)
        return {"add": a + b, "sub": a - b, "mul": a * b, "min": min(a, b), "max": max(a, b)}[kind]

    def operand(self, o):
        if o is None:
            return None
        return self.number(o) if isinstance(o, dict) else self.values[o]

    def attributes(self, step):
        found = {k: value_of(v) for k, v in step.get("attributes", {}).items()}
        for c in step.get("computed", []):
            if c["entry"] < 0:
                found[c["field"]] = self.number(c["expr"])
            else:
                found[c["field"]] = list(found[c["field"]])
                found[c["field"]][c["entry"]] = self.number(c["expr"])
        if self.wide and found.get("dtype") in ("f16", "bf16", "f32"):
            found["dtype"] = "f64"
        return found

    # --- Steps ---------------------------------------------------------------------------------
    def bind(self, step, out, inputs):
        for i, t in zip(step["out"], out):
            if i < 0:
                continue
            if self.noise and torch.is_tensor(t) and t.is_floating_point() and t._base is None \
                    and all(not torch.is_tensor(x) or x.data_ptr() != t.data_ptr()
                            for x in inputs):
                t = self.disturbed(t)
            self.values[i] = t

    def disturbed(self, t):
        unit = torch.finfo(t.dtype).eps
        factor = 1 + unit * (2 * torch.rand(t.shape, generator=self.noise, dtype=torch.float64) - 1)
        return t * factor.to(t.dtype)

    def run(self, steps):
        for s in steps:
            getattr(self, s["kind"])(s)

    def call(self, name, inputs, attributes):
        """Numbers are Python's where PyTorch takes them, else tensors of the operands' dtype."""
        # Where PyTorch has no kernel for bool, the f32 that stands in elsewhere is another dtype.
        refuses = any(torch.is_tensor(x) and x.dtype == torch.bool for x in inputs)
        call = torch_ops.call_as_is if refuses else torch_ops.call
        try:
            # A result that is an input would share its memory.
            return [o.clone() if any(o is x for x in inputs if torch.is_tensor(x)) else o
                    for o in call(name, inputs, attributes)]
        except (TypeError, AttributeError):
            real = [x.dtype for x in inputs if torch.is_tensor(x)]
            if not any(isinstance(x, (int, float)) for x in inputs) or not real:
                raise
            floats = [d for d in real if d.is_floating_point]
            as_tensor = [x if x is None or torch.is_tensor(x) else torch.tensor(
                x, dtype=floats[0] if floats else torch.float32 if isinstance(x, float)
                else torch.int64 if all(d == torch.bool for d in real) else real[0])
                for x in inputs]
            return torch_ops.call(name, as_tensor, attributes)

    def record(self, s):
        name = s["name"]
        if name in torch_ops.NO_COUNTERPART:
            raise Skip(f"{name} draws other numbers")
        if name.endswith("_step"):
            self.no_gradient = True
        inputs = [self.operand(o) for o in s["in"]]
        attributes = self.attributes(s)
        if name == "topk" and not attributes["sorted"]:
            raise Skip("the order is free")
        if name in ("topk", "sort") and has_ties(inputs[0], attributes["axis"]):
            raise Skip("the order of equal elements is free")
        if name in NO_GRADIENT:
            inputs = [x.detach() if torch.is_tensor(x) else x for x in inputs]
        for i in torch_ops.CONSTANTS.get(name, ()):
            if i < len(inputs) and torch.is_tensor(inputs[i]) and inputs[i].requires_grad:
                inputs[i] = inputs[i].detach()
                self.no_gradient = True
        self.look(name, inputs, attributes)
        if not s.get("in_place"):
            return self.bind(s, self.call(name, inputs, attributes), inputs)
        target = inputs[0]
        inputs[0] = target.clone()
        result = self.call(name, inputs, attributes)[0]
        if result.shape != target.shape:
            raise RuntimeError("an in-place write of another shape")
        target.copy_(result)

    def look(self, name, inputs, attributes):
        """Notes what is open, and refuses what PyTorch has rules of its own about."""
        real = [x for x in inputs if torch.is_tensor(x)]
        if name.startswith("conv"):
            self.nan_is_open |= any(not x.isfinite().all() for x in real)
            if len(real) > 1 and real[1].numel() == 0:
                raise RuntimeError("a weight of size 0: PyTorch drops its channels")
        if name == "cross_entropy" and (real[1] == attributes["ignore_index"]).any():
            # Rows that are left out get 0, where PyTorch multiplies what they hold by 0.
            self.gradient_nan_is_open |= not real[0].isfinite().all()
        if name.endswith("_grad"):
            self.gradient_nan_is_open |= any(not x.isfinite().all() for x in real)
        if name in ("argmax", "argmin", "amax", "amin", "topk", "sort", "max_pool2d"):
            self.orders_nan |= bool(real[0].isnan().any())

    def function(self, s):
        if s["name"] not in FUNCTIONS:
            raise Skip(f"{s['name']} draws other numbers")
        inputs = [self.operand(o) for o in s["in"]]
        self.bind(s, [FUNCTIONS[s["name"]](self.attributes(s), *inputs)], inputs)

    def layer(self, s):
        inputs = [self.operand(o) for o in s["in"]]
        out = self.layers[s["out"][0]](*inputs)
        flat = []
        for o in out if isinstance(out, tuple) else (out,):
            flat += o if isinstance(o, tuple) else [o]
        self.bind(s, flat, inputs)

    def places(self, s):
        found = []
        for i in s["index"]:
            start = None if i["start"] is None else self.number(i["start"])
            stop = None if i["stop"] is None else self.number(i["stop"])
            found.append({"integer": start, "range": slice(start, stop, i["step"]),
                          "all": slice(None), "none": None, "ellipsis": Ellipsis,
                          "tensor": self.values.get(i["value"])}[i["kind"]])
        return tuple(found)

    def read(self, s):
        x = self.operand(s["in"][0])
        self.bind(s, [x[self.places(s)]], [x])

    def write(self, s):
        x, v = (self.operand(o) for o in s["in"])
        places = self.places(s)
        if s["name"] == "=":
            x[places] = v
        elif s["name"] == "+=":
            x[places] += v
        elif s["name"] == "-=":
            x[places] -= v
        elif s["name"] == "*=":
            x[places] *= v
        else:
            x[places] /= v

    def block(self, b, arguments):
        self.values.update(zip(b["arguments"], arguments))
        self.run(b["steps"])
        return [self.values[i] for i in b["results"]]

    def cond(self, s):
        taken = s["blocks"][0 if bool(self.operand(s["in"][0])) else 1]
        self.bind(s, copies(self.block(taken, [])), [])

    def while_loop(self, s):
        variables = [self.operand(o) for o in s["in"]]
        test, body = s["blocks"]
        turns = 0
        while bool(self.block(test, variables)[0]):
            before, variables = variables, self.block(body, variables)
            if any(a.dtype != b.dtype for a, b in zip(before, variables)):
                raise RuntimeError("a variable of another dtype, which Tandem's loops refuse")
            turns += 1
            if turns == MOST_TURNS:
                raise Skip("a loop without end, which keeps all that it has made")
        self.bind(s, copies(variables), [])

    def fold(self, s):
        elements, name = self.operand(s["in"][0]), s["name"]
        b = s["blocks"][0]
        if name in ("map_fn", "scan") and len(elements) == 0:
            raise Skip("PyTorch stacks nothing")
        if name == "map_fn":
            out = torch.stack([self.block(b, [row])[0] for row in elements])
        else:
            now, steps = self.operand(s["in"][1]), []
            order = range(len(elements))
            for i in reversed(order) if name == "foldr" else order:
                row = elements[i]  # a view
                now = self.block(b, [now, row])[0]
                steps.append(now)
            out = torch.stack(steps) if name == "scan" else now.clone()
        self.bind(s, [out], [])

    def walk(self, s):
        elements, now = (self.operand(o) for o in s["in"])
        for row in elements:
            now = self.block(s["blocks"][0], [now, row])[0]
        self.bind(s, [now], [])

    def decide(self, s):
        n, limit = (self.operand(o) for o in s["in"])
        self.bind(s, self.block(s["blocks"][0 if n > limit else 1], []), [])


def copies(results):
    """What comes out of a region is a tensor of its own."""
    return [r.clone() for r in results]


def steps_of(steps):
    for s in steps:
        yield s
        for b in s.get("blocks", []):
            yield from steps_of(b["steps"])


def make_layers(program, state):
    layers = {}
    for s in steps_of(program["steps"]):
        if s["kind"] != "layer":
            continue
        if s["name"] not in LAYERS:
            raise Skip(f"{s['name']} draws other numbers")
        attributes = {k: value_of(v) for k, v in s.get("attributes", {}).items()}
        try:
            module = LAYERS[s["name"]](attributes)
        except ValueError as e:
            raise Skip(f"PyTorch has no such layer: {e}") from e
        prefix = f"state.layer{s['out'][0]}."
        own = {k[len(prefix):]: v for k, v in state.items() if k.startswith(prefix)}
        module.load_state_dict(own)
        module.train(attributes.get("training", True))
        layers[s["out"][0]] = module
    return layers


class InWideNumbers:
    """An optimizer's steps in f32 on 16-bit parameters and states, as our kernels compute them: in
    PyTorch, whose own are 16 bits in between, f16 makes eps = 1e-8 zero."""

    def __init__(self, make, parameters):
        self.pairs = [(p, torch.nn.Parameter(p.detach().float()) if p.dtype.itemsize == 2 else p)
                      for p in parameters]
        self.inner = make([w for _, w in self.pairs])

    def zero_grad(self):
        for p, _ in self.pairs:
            p.grad = None

    @torch.no_grad()
    def step(self):
        narrow = [(p, w) for p, w in self.pairs if p is not w]
        for p, w in narrow:
            w.copy_(p)
            w.grad = None if p.grad is None else p.grad.float()
        self.inner.step()
        for p, w in narrow:
            p.copy_(w)
            for t in self.inner.state[w].values():
                if torch.is_tensor(t) and t.shape == w.shape and t.dtype == w.dtype:
                    t.copy_(t.to(p.dtype))


def make_optimizer(name, parameters):
    """Those of training.cpp."""
    return InWideNumbers(lambda own: plain_optimizer(name, own), parameters)


def plain_optimizer(name, parameters):
    optim = torch.optim
    return {"SGD": lambda: optim.SGD(parameters, lr=0.1),
            "momentum": lambda: optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
            "Adam": lambda: optim.Adam(parameters, lr=0.01),
            "AdamW": lambda: optim.AdamW(parameters, lr=0.01),
            "RMSprop": lambda: optim.RMSprop(parameters, lr=0.01),
            "Adagrad": lambda: optim.Adagrad(parameters, lr=0.01)}[name]()


def loss_of(results):
    """The same weights as in machine.cpp."""
    total = None
    for t in results:
        if t is None or not t.is_floating_point() or not t.requires_grad:
            continue
        y = t if t.dtype == torch.float64 else t.float()
        p = (y * (torch.tanh(y.detach()) + 0.3)).sum()
        total = p if total is None else total + p
    return total
