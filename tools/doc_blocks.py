"""Compiles and runs every ```cpp block of README.md and docs/*.md.

usage: doc_blocks.py --source TREE --library FOLDER [--work FOLDER] [--only TEXT]

A block marked `cpp no-run` is compiled only. A block without `main` is wrapped in one, behind
`#include <tandem/tandem.h>` and `using namespace tandem;`; its includes, types and functions that
start in the first column move in front of main. The last line is `N passed, N failed, N skipped`.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

PRELUDE = "#include <tandem/tandem.h>\n"
DEFINITION = re.compile(r"(template|struct|class|enum|namespace|using \w+ =|inline|static)\b"
                        r"|[\w:<>&*, ]+[ &*]\w+\([^=;]*\)( const| noexcept)* \{")


def blocks(path):
    """(line, words after ```cpp, text) of each block."""
    found, start, info, body = [], 0, "", []
    for number, line in enumerate(path.read_text().split("\n"), 1):
        if start:
            if line.strip() == "```":
                found.append((start, info, "\n".join(body)))
                start, body = 0, []
            else:
                body.append(line)
        elif re.match(r"```cpp\b", line):
            start, info = number, line[len("```cpp"):].split()
    if start:
        raise SystemExit(f"error: {path}:{start}: this block has no end")
    return found


def wrap(text):
    """`text` as a program."""
    if re.search(r"^(int|auto) main\(", text, re.M):
        return text + "\n"
    front, inside, lines = [], [], text.split("\n")
    while lines:
        line = lines.pop(0)
        if line.startswith("#include"):
            front.insert(0, line)
        elif DEFINITION.match(line) and not re.match(r"(return|if|for|while|switch|else)\b", line):
            front.append(line)
            # A definition ends with the first line that closes it in the first column.
            while not re.search(r"[;}]$", line) or line.startswith(("template", " ")):
                if not lines:
                    break
                line = lines.pop(0)
                front.append(line)
                if re.match(r"\};?", line):
                    break
        else:
            inside.append(line)
    includes = [line for line in front if line.startswith("#include")]
    rest = [line for line in front if not line.startswith("#include")]
    lines = [*includes, "using namespace tandem;", *rest, "int main() {", *inside, "}", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, required=True, help="the project's tree")
    parser.add_argument("--library", type=pathlib.Path, required=True, help="holds libtandem.so")
    parser.add_argument("--work", type=pathlib.Path, help="kept; a temporary folder otherwise")
    parser.add_argument("--only", default="", help="blocks whose FILE:LINE contains this text")
    options = parser.parse_args()
    kept = None if options.work else tempfile.TemporaryDirectory()
    work = (options.work or pathlib.Path(kept.name)).resolve()
    work.mkdir(parents=True, exist_ok=True)
    library = options.library.resolve()
    compiler = ["g++", "-std=c++20", "-O0", f"-I{options.source.resolve()}"]

    pages = [options.source / "README.md", *sorted((options.source / "docs").glob("*.md"))]
    jobs = [(page, *block) for page in pages if page.exists() for block in blocks(page)]
    jobs = [job for job in jobs if options.only in f"{job[0].name}:{job[1]}"]
    if not jobs:
        print("skipped: README.md and docs/ hold no cpp block")
        return 77
    (work / "prelude.h").write_text(PRELUDE)
    subprocess.run([*compiler, "-x", "c++-header", work / "prelude.h"], check=True)

    def one(job):
        page, line, info, text = job
        name = f"{page.stem}_{line}"
        source, program, place = work / f"{name}.cpp", work / name, work / f"{name}.d"
        source.write_text(wrap(text))
        place.mkdir(exist_ok=True)
        run = subprocess.run([*compiler, "-include", work / "prelude.h", source, "-o", program,
                              f"-L{library}", "-ltandem", f"-Wl,-rpath,{library}"],
                             capture_output=True, text=True)
        if run.returncode:
            return job, "does not compile", run.stderr
        if "no-run" in info:
            return job, "", ""
        try:
            run = subprocess.run([program], cwd=place, capture_output=True, text=True, timeout=120,
                                 stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return job, "does not end within 120 s", ""
        return job, f"ends with {run.returncode}" if run.returncode else "", run.stdout + run.stderr

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (page, line, _, _), problem, output in pool.map(one, jobs):
            if problem:
                failed += 1
                print(f"FAILED: {page.relative_to(options.source)}:{line}: {problem}")
                print("\n".join(output.splitlines()[:20]))
    print(f"{len(jobs) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
