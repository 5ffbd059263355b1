"""Holds our event files against tensorboard: its readers, its server, and PyTorch's writer.

usage: run.py PROGRAM

PROGRAM is built from events.cpp. The same calls are made on torch.utils.tensorboard, and both
folders must read back the same.
"""

import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import numpy as np
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import graph_pb2
from torch.utils.tensorboard import SummaryWriter

EVERYTHING = {name: 0 for name in ("scalars", "histograms", "tensors", "graph")}
passed, failed = 0, 0


def check(what, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
        print(f"ok: {what}")
    else:
        failed += 1
        print(f"FAILED: {what} {detail}")


def same(what, ours, theirs):
    check(what, ours == theirs, f"\n  {str(ours)[:500]}\n  not {str(theirs)[:500]}")


def write_reference(folder, values):
    with SummaryWriter(folder) as log:
        for step in range(1000):
            log.add_scalar("loss/train", math.exp(-step / 100), step)
            if step % 100 == 0:
                log.add_scalar("loss/état", step * 0.1, step * 1_000_000_000)
        log.add_scalar("extreme", math.inf, 0)
        log.add_scalar("extreme", -1e30, 1)
        log.add_scalar("extreme", math.nan, 2)
        for step in range(5):
            log.add_scalars("group/both", {"one": float(step), "two": 2.0 * step}, step)
        log.add_histogram("weights", values, 7)
        log.add_text("note", "**bold** €, two\nlines", 3)


def load(folder):
    accumulator = EventAccumulator(str(folder), size_guidance=EVERYTHING)
    accumulator.Reload()
    return accumulator


def scalars(accumulator):
    return {tag: [(e.step, repr(e.value)) for e in accumulator.Scalars(tag)]
            for tag in accumulator.Tags()["scalars"]}


def histogram(accumulator):
    event, = accumulator.Histograms("weights")
    h = event.histogram_value
    return ((event.step, h.min, h.max, h.num, list(h.bucket), list(h.bucket_limit)),
            (h.sum, h.sum_squares))


def text(accumulator):
    event, = accumulator.Tensors("note/text_summary")
    proto = event.tensor_proto
    metadata = accumulator.SummaryMetadata("note/text_summary")
    return (event.step, list(proto.string_val), proto.dtype,
            [d.size for d in proto.tensor_shape.dim], metadata.plugin_data.plugin_name)


def compare_readers(ours, theirs):
    same("scalars", scalars(load(ours)), scalars(load(theirs)))
    (exact, sums), (their_exact, their_sums) = histogram(load(ours)), histogram(load(theirs))
    same("the histogram's buckets", exact, their_exact)
    check("the histogram's sums", np.allclose(sums, their_sums, rtol=1e-12), f"{sums} {their_sums}")
    same("text", text(load(ours)), text(load(theirs)))
    folders = [sorted(p.name for p in f.iterdir() if p.is_dir()) for f in (ours, theirs)]
    same("the folders of add_scalars", *folders)
    for name in folders[0]:
        same(f"the scalars of {name}", scalars(load(ours / name)), scalars(load(theirs / name)))
    graph = graph_pb2.GraphDef()
    graph.ParseFromString(load(ours).Graph().SerializeToString())
    nodes = {n.name: n for n in graph.node}
    same("the graph's ops", [n.op for n in graph.node if n.op != "VariableV2"],
         ["Placeholder", "linear", "relu", "linear", "softmax", "Identity"])
    same("inputs that no node makes",
         [i for n in graph.node for i in n.input if i.split(":")[0] not in nodes], [])
    same("the graph's modules", sorted(n.rsplit("/", 1)[0] for n in nodes if "/linear" in n),
         ["Sequential/0", "Sequential/2"])
    shape = nodes["x"].attr["_output_shapes"].list.shape[0]
    same("the placeholder's shape", [d.size for d in shape.dim], [-1, 4])
    same("the softmax's axis", [n.attr["axis"].i for n in graph.node if n.op == "softmax"], [1])


def compare_events(path):
    """The loader of today's tensorboard, which converts old summaries to new ones."""
    now = time.time()
    events = list(event_file_loader.EventFileLoader(str(path)).Load())
    check("every event has the time", all(now - 600 < e.wall_time <= now for e in events))
    same("the first event", events[0].file_version, "brain.Event:2")
    # A chart's first value says what it is for; the loader makes an event of its own for a graph.
    charts = {}
    for value in (v for e in events for v in e.summary.value):
        plugin, count = charts.get(value.tag, ("", 0))
        charts[value.tag] = (value.metadata.plugin_data.plugin_name or plugin, count + 1)
    del charts["__run_graph__"]
    same("the charts", charts, {"loss/train": ("scalars", 1000), "loss/état": ("scalars", 10),
                                "extreme": ("scalars", 3), "weights": ("histograms", 1),
                                "note/text_summary": ("text", 1)})


def get(address):
    with urllib.request.urlopen(address, timeout=30) as reply:
        return json.load(reply)


def ask_server(folder):
    """The real server, as a user starts it: are the runs and their curves there?"""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0",
               "--host", "127.0.0.1", "--load_fast=false", "--samples_per_plugin", "scalars=2000"]
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        address, said = None, []
        for line in server.stderr:
            said.append(line)
            found = re.search(r"at (http://\S+)", line)
            if found:
                address = found.group(1).rstrip("/") + "/data/"
                break
        if not address:
            check("tensorboard starts", False, "".join(said))
            return
        curve = "plugin/scalars/scalars?run=ours&tag=loss%2Ftrain"
        points, end = [], time.time() + 60
        while len(points) < 1000 and time.time() < end:  # it reads the files while it serves
            time.sleep(0.5)
            try:
                points = get(address + curve)
            except urllib.error.HTTPError:
                pass
        check("the server's curve", len(points) == 1000
              and np.allclose([p[2] for p in points], np.exp(-np.arange(1000) / 100), rtol=1e-6),
              len(points))
        same("the server's runs", sorted(get(address + "plugin/scalars/tags")),
             ["ours", "ours/group_both_one", "ours/group_both_two"])
        same("the server's text", [e["step"] for e in get(
            address + "plugin/text/text?run=ours&tag=note%2Ftext_summary")], [3])
        bins = get(address + "plugin/histograms/histograms?run=ours&tag=weights")
        check("the server's histogram", sum(b[2] for b in bins[0][2]) > 9000, bins)
    finally:
        server.terminate()
        server.wait(30)


def main(program):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        values = np.concatenate([np.random.default_rng(0).normal(size=10000) * 0.1,
                                 [0, 0, 1e-13, -1e-12, 1e-12, 1.1e-12, 5e19, -3.5]])
        np.save(folder / "values.npy", values)
        run = subprocess.run([program, folder / "logs" / "ours", folder / "values.npy"],
                             check=True, capture_output=True, text=True)
        write_reference(folder / "theirs", values)
        compare_readers(folder / "logs" / "ours", folder / "theirs")
        compare_events(run.stdout.strip())
        ask_server(folder / "logs")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
