"""Adds up what test.sh left behind, and prints `N passed, N failed, N skipped`.

usage: sum_tests.py RESULTS BUILD...

RESULTS holds one `.step` file a step of test.sh (`passed NAME`, `failed NAME: why`, `skipped
NAME: why`), and its output beside it in a `.log`. Each BUILD holds test_reports/ctest.xml, and for
a GoogleTest program also test_reports/NAME.json, whose cases are counted one by one. A script
test or a step counts as one, or as many as its last line `N passed, N failed, N skipped` says.
"""

import json
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

LINE = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)


class Sum:
    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = {}
        self.skipped = 0

    def fail(self, text):
        self.failures.append(text)

    def skip(self, text, reason):
        self.skipped += 1
        self.skips.setdefault(reason or "no reason given", []).append(text)

    def add_line(self, where, numbers, broken):
        """Adds what a line `N passed, N failed, N skipped` says."""
        passed, failed, skipped = (int(n or 0) for n in numbers)
        self.passed += passed
        for _ in range(max(failed, broken)):
            self.fail(where)
        for _ in range(skipped):
            self.skip(where, "its output says why")


def skip_reasons(output):
    """{`Suite.case`: reason} from the output of a GoogleTest program."""
    found = {}
    case, reason = None, []
    for line in output.splitlines():
        run = re.match(r"\[ RUN      \] (\S+)", line)
        if run:
            case, reason = run.group(1), []
        elif case and line.startswith("[  SKIPPED ]"):
            found[case] = " ".join(reason)
            case = None
        elif case and not re.match(r"\S+:\d+: Skipped$", line):
            reason.append(line.strip())
    return found


def add_gtest(total, where, report, output):
    reasons = skip_reasons(output)
    failed = 0
    for suite in json.loads(report.read_text())["testsuites"]:
        for case in suite["testsuite"]:
            name = f"{suite['name']}.{case['name']}"
            if case.get("failures"):
                failed += 1
                total.fail(f"{where}: {name}")
            elif case["result"] == "SKIPPED":
                total.skip(f"{where}: {name}", reasons.get(name))
            elif case["result"] == "COMPLETED":
                total.passed += 1
    return failed


def add_build(total, build):
    reports = build / "test_reports"
    listing = reports / "ctest.xml"
    if not listing.exists():
        return  # its step has failed, and says so
    for test in xml.parse(listing).getroot().iter("testcase"):
        name, status = test.get("name"), test.get("status")
        where = f"{build.name}/{name}"
        output = test.findtext("system-out") or ""
        report = reports / f"{name}.json"
        last = LINE.findall(output)
        if report.exists():
            failed = add_gtest(total, where, report, output)
            if status != "run" and not failed:
                total.fail(f"{where}: its cases passed, but the program failed")
        elif status in ("notrun", "disabled"):
            skipped = test.find("skipped")
            lines = output.strip().splitlines()
            reason = lines[-1] if lines else skipped.get("message") if skipped is not None else ""
            if skipped is not None and "SKIP_RETURN_CODE" in (skipped.get("message") or ""):
                total.skip(where, reason)
            else:
                total.fail(f"{where}: did not run")
        elif last:
            total.add_line(where, last[-1], status == "fail")
        elif status == "run":
            total.passed += 1
        else:
            total.fail(where)


def main(results, builds):
    total = Sum()
    for step in sorted(pathlib.Path(results).glob("*.step")):
        outcome, _, text = step.read_text().strip().partition(" ")
        log = step.with_suffix(".log")
        lines = log.read_text().strip().splitlines() if log.exists() else []
        last = lines[-1:]
        if outcome == "failed":
            print(f"the end of what {step.stem} printed:", *lines[-20:], sep="\n  ")
        if last and LINE.fullmatch(last[0]):
            total.add_line(step.stem, LINE.findall(last[0])[0], outcome == "failed")
        elif outcome == "passed":
            total.passed += 1
        elif outcome == "skipped":
            total.skip(*text.split(": ", 1))
        else:
            total.fail(text)
    for build in builds:
        add_build(total, pathlib.Path(build))
    for reason, names in total.skips.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        print(f"skipped: {reason} ({shown})")
    for failure in total.failures:
        print(f"FAILED: {failure}")
    print(f"{total.passed} passed, {len(total.failures)} failed, {total.skipped} skipped")
    return 1 if total.failures or not total.passed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if "-h" in sys.argv or "--help" in sys.argv else 2)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
