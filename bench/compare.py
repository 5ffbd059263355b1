"""Compares two builds of Tandem row by row: interleaved rounds, medians, the ratio new over old.

usage: compare.py OLD/tandem_rows NEW/tandem_rows [--rows a,b] [--rounds N] [--limit 1.03]
Ends with 1 when a row is slower than the limit.
"""
import argparse
import statistics
import subprocess
import sys

from run import SCALE, Worker, environment


def common_rows(old, new):
    has = [subprocess.run([p, "--list"], capture_output=True, text=True, check=True).stdout.split()
           for p in (old, new)]
    return [row for row in has[1] if row in has[0]]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("old")
    p.add_argument("new")
    p.add_argument("--rows")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--seconds", type=float, default=0.3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--limit", type=float, default=1.03)
    a = p.parse_args()
    rows = a.rows.split(",") if a.rows else common_rows(a.old, a.new)
    env = environment(a.threads)
    workers = [Worker([a.old], env), Worker([a.new], env)]
    slower = []
    for row in rows:
        times = [[], []]
        for r in range(a.rounds):
            for side in ((0, 1), (1, 0))[r % 2]:
                answer = workers[side].ask(row, 3, a.seconds)
                if "error" in answer:
                    raise SystemExit(f"{row}: {answer['error']}")
                times[side].append(statistics.median(answer["seconds"]))
        for worker in workers:
            worker.drop()
        old, new = (statistics.median(t) for t in times)
        ratio = statistics.median(n / o for o, n in zip(*times))
        if ratio > a.limit:
            slower.append(row)
        print(f"{row:32} {old * SCALE['us']:12.2f} us {new * SCALE['us']:12.2f} us {ratio:7.3f}",
              flush=True)
    for worker in workers:
        worker.close()
    if slower:
        sys.exit(f"slower than {a.limit}: {', '.join(slower)}")


if __name__ == "__main__":
    main()
