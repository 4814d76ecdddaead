"""What came of it: counts by kernel and backend, kept in a file, shown as a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.lab.vm.machine import Finished, Lost, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lab.vm.protocol import Ran

RESULTS = Path(__file__).parent.parent.parent / "vm" / "results.json"
COLUMNS = ("nftables", "iptables-nft", "iptables-legacy", "ebpf", "other")
_TITLES = ("nftables", "iptables-nft", "iptables-legacy", "eBPF", "no one backend")
EBPF_SINCE = (5, 15)
"""docs/decisions/0020-ebpf.md; written here anew, so that a change there is noticed."""
REFUSAL = "tests/netns/test_kernels.py::test_programs_at_sockets_or_why_not"
"""Passes on an old kernel if it is refused as documented."""


class Cell(msgspec.Struct, frozen=True, omit_defaults=True):
    """One backend on one kernel."""

    passed: int = 0
    failed: int = 0
    refused: bool = False
    """The kernel is too old for it, and that was said as documented."""


class Row(msgspec.Struct, frozen=True):
    """One kernel; ``date`` is the day its tests ran."""

    kernel: str
    release: str
    package: str
    date: str
    seconds: int
    tools: dict[str, str]
    cells: dict[str, Cell]


def version(release: str) -> tuple[int, int]:
    """Give the version of a kernel: 5.10.0-32-amd64 is 5, 10."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def runs_ebpf(release: str) -> bool:
    """Whether a kernel is new enough for programs at sockets: 5.10.0-32-amd64 is not."""
    return version(release) >= EBPF_SINCE


def backend(test: str) -> str:
    """Name the column of a test, by its parameters or else its file.

    What compares backends belongs to none.
    """
    path, _, parameters = test.partition("[")
    named = set(re.findall(r"iptables-nft|iptables-legacy|nftables|ebpf", parameters))
    if not named and re.search(r"/ebpf/|_ebpf", path):
        return "ebpf"
    return named.pop() if len(named) == 1 else "other"


def cells(release: str, tests: Iterable[Ran]) -> dict[str, Cell]:
    """Count; a skipped test counts as failed, since nothing may be skipped here."""
    made = dict.fromkeys(COLUMNS, Cell())
    for ran in tests:
        column = "ebpf" if ran.test.startswith(REFUSAL) else backend(ran.test)
        before = made[column]
        refused = ran.test.startswith(REFUSAL) and not runs_ebpf(release)
        if ran.outcome == "passed":
            made[column] = (
                Cell(before.passed, before.failed, refused=True)
                if refused
                else msgspec.structs.replace(before, passed=before.passed + 1)
            )
        else:
            made[column] = msgspec.structs.replace(before, failed=before.failed + 1)
    return made


def faults(kernel: str, verdict: Verdict) -> list[str]:
    """Say what is wrong with a run; nothing if all is well."""
    if isinstance(verdict, Lost):
        return [f"{kernel}: the machine is lost: {verdict.why}"]
    found = [
        f"{kernel}: {ran.test} {ran.outcome}\n{ran.why}"
        for ran in verdict.tests
        if ran.outcome != "passed"
    ]
    if not found and verdict.status != 0:
        found.append(f"{kernel}: pytest ended with {verdict.status}")
    if not runs_ebpf(verdict.release):
        counted = cells(verdict.release, verdict.tests)["ebpf"]
        if not counted.refused and not counted.failed:
            found.append(f"{kernel}: whether eBPF is refused as documented was not tested")
    return found


def row(kernel: str, package: str, date: str, seconds: float, finished: Finished) -> Row:
    """Keep a run."""
    counted = cells(finished.release, finished.tests)
    tools = finished.tools
    return Row(kernel, finished.release, package, date, round(seconds), tools, counted)


def _order(kept: Row) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", kept.release)]


def read(path: Path = RESULTS) -> list[Row]:
    """Give the rows that are kept, oldest kernel first.

    Raises:
        msgspec.MsgspecError: the file is not one of ours.
    """
    if not path.exists():
        return []
    return sorted(msgspec.json.decode(path.read_bytes(), type=list[Row]), key=_order)


def keep(rows: Iterable[Row], path: Path = RESULTS) -> None:
    """Put rows in the places of those of the same kernels; others stay, with their dates."""
    merged = {kept.kernel: kept for kept in read(path)} | {one.kernel: one for one in rows}
    ordered = sorted(merged.values(), key=_order)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n")


def _shown(cell: Cell) -> str:
    if cell.failed:
        return f"**{cell.failed} failed**, {cell.passed} passed"
    if cell.refused:
        return "refused, as documented"
    return f"{cell.passed} passed" if cell.passed else "not run"


def table(rows: Iterable[Row]) -> str:
    """Write one line for each kernel."""
    rows = tuple(rows)
    if not rows:
        return "No run is on record."
    lines = [
        "| kernel | " + " | ".join(_TITLES) + " | took | on |",
        "|---|" + "---|" * (len(_TITLES) + 2),
    ]
    tools: list[str] = []
    for one in rows:
        shown = " | ".join(_shown(one.cells.get(name, Cell())) for name in COLUMNS)
        lines.append(f"| {one.release} ({one.package}) | {shown} | {one.seconds} s | {one.date} |")
        tools = sorted({*tools, *one.tools.values()})
    if tools:
        lines += ["", "Tools: " + ", ".join(tools) + "."]
    return "\n".join(lines)
