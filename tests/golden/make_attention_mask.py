"""Writes tests/golden/attention_mask.npz: PyTorch's gradients of attention by q, k, v and a float
mask that hides some keys of a query, and all of another's. usage: make_attention_mask.py"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F

torch.manual_seed(5)
HIDDEN = float("-inf")
mask = torch.randn(3, 4)
mask[0, 1] = mask[0, 2] = HIDDEN
mask[1, :] = HIDDEN
wide = torch.randn(2, 1, 3, 4)
wide[0, 0, 2, :3] = wide[1, 0, 0] = HIDDEN
inputs = {"q": torch.randn(2, 2, 3, 5), "k": torch.randn(2, 2, 4, 5), "v": torch.randn(2, 2, 4, 5),
          "dy": torch.randn(2, 2, 3, 5), "mask": mask, "wide": wide}
# What every type can hold.
inputs = {name: t.bfloat16().float() for name, t in inputs.items()}
out = {name: t.numpy() for name, t in inputs.items()}
for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
    for which in ("mask", "wide"):
        leaves = [inputs[n].to(dtype).clone().requires_grad_() for n in ("q", "k", "v", which)]
        q, k, v, m = leaves
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=m)
        y.backward(inputs["dy"].to(dtype))
        label = f"{str(dtype)[6:]}_{which}_"
        for name, t in zip(("y", "dq", "dk", "dv", "dm"), (y.detach(), *[x.grad for x in leaves])):
            assert torch.isfinite(t).all(), label + name
            out[label + name] = t.double().numpy()
np.savez_compressed(pathlib.Path(__file__).with_name("attention_mask.npz"), **out)
