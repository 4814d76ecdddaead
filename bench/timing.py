"""Time alternatives in turn, so that a noisy machine is noisy for all of them alike."""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Contender(NamedTuple):
    """One way to do a thing; ``before`` prepares each run and is not timed."""

    name: str
    run: Callable[[], object]
    before: Callable[[], object] = lambda: None


class Times(NamedTuple):
    """What one contender took, in milliseconds."""

    name: str
    best_ms: float
    median_ms: float


def race(contenders: Sequence[Contender], rounds: int) -> list[Times]:
    """Run all contenders in turn, round by round."""
    taken: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            contender.before()
            began = time.perf_counter()
            contender.run()
            taken[contender.name].append((time.perf_counter() - began) * 1000)
    return [Times(name, min(ms), statistics.median(ms)) for name, ms in taken.items()]


def show(title: str, times: Sequence[Times], *, beside: str) -> None:
    """Print a table; the last column is each median beside that of one contender."""
    reference = next(one.median_ms for one in times if one.name == beside)
    width = max(len(one.name) for one in times)
    print(f"\n{title}")
    print(f"  {'':{width}}  {'best ms':>8}  {'median ms':>9}  {'ratio':>6}")
    for one in times:
        ratio = one.median_ms / reference
        print(f"  {one.name:{width}}  {one.best_ms:8.1f}  {one.median_ms:9.1f}  {ratio:6.2f}")


class Connections(NamedTuple):
    """What one way took for each of very many connections, in microseconds, and how many it made.

    Each is the median of what rounds had, so that one that was disturbed does not count.
    """

    name: str
    p50_us: float
    p99_us: float
    per_second: float


def percentile(values: Sequence[float], percent: int) -> float:
    """Give the value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def show_connections(title: str, found: Sequence[Connections], *, beside: str) -> None:
    """Print a table; the last column is what each adds to the median of one of them."""
    reference = next(one.p50_us for one in found if one.name == beside)
    width = max(len(one.name) for one in found)
    print(f"\n{title}")
    print(f"  {'':{width}}  {'p50 us':>7}  {'p99 us':>7}  {'per second':>10}  {'p50 more':>8}")
    for one in found:
        print(
            f"  {one.name:{width}}  {one.p50_us:7.1f}  {one.p99_us:7.1f}  "
            f"{one.per_second:10,.0f}  {one.p50_us - reference:+8.1f}"
        )


def command(*argv: str, stdin: str = "") -> Callable[[], object]:
    """Make a contender's run of a process."""

    def run() -> object:
        return subprocess.run(argv, input=stdin.encode(), stdout=subprocess.DEVNULL, check=True)

    return run
