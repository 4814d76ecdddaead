"""One machine: it is started, watched, and judged by what it said before it ended."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple, assert_never

import msgspec

from tests.lab.vm.protocol import Begun, Collected, Ended, Message, Ran, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_LOOK_S = 0.3
_IF_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
_END_S = 20


class Limits(NamedTuple):
    """How long a machine may take: to its first word, between words, and in all; seconds."""

    first_s: float = 180
    silence_s: float = 300
    all_s: float = 1200

    def times(self, factor: float) -> Limits:
        """Give limits for a machine that has less of this one's processors."""
        return Limits(*(limit * factor for limit in self))


class Finished(msgspec.Struct, frozen=True):
    """It ran all tests it meant to, and said so."""

    release: str
    tools: dict[str, str]
    tests: tuple[Ran, ...]
    status: int


class Lost(msgspec.Struct, frozen=True):
    """It died, hung, said nothing or said nonsense; what had run by then, and ``why``."""

    why: str
    tests: tuple[Ran, ...] = ()


Verdict = Finished | Lost


class Run(NamedTuple):
    """What came of a machine, and the processor seconds it took of this one."""

    verdict: Verdict
    processor_s: float


_WORDS = "console=ttyS0 quiet panic=-1 mitigations=off"
CX16_SINCE = (6, 18)
_WITHOUT_CX16 = "slab_debug=F,kmalloc-*"
"""Since then memory for a socket's storage is had without locks: by cx16, or from checked caches.
Without either bpf_sk_storage_get() makes none, and captured connections are refused."""


def qemu(
    kernel: Path, image: Path, console: Path, report: Path, processors: int, *, checks_memory: bool
) -> list[str]:
    """Give what starts an emulated machine.

    It needs no hardware support, so it runs wherever tests do. Without cx16 kernels since 6.12
    choose another way for what QEMU 7.2 gets wrong now and then (random panics).
    """
    return [
        # Whatever ends this program ends the machine.
        *("setpriv", "--pdeathsig", "TERM", "--"),
        "qemu-system-x86_64",
        *("-accel", "tcg,thread=multi"),
        *("-cpu", "Nehalem,-cx16"),
        *("-machine", "q35"),
        *("-smp", str(processors)),
        *("-m", "2560"),
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none"),
        *("-serial", f"file:{console}"),
        *("-serial", f"file:{report}"),
        *("-kernel", str(kernel)),
        *("-initrd", str(image)),
        *("-append", f"{_WORDS} {_WITHOUT_CX16}" if checks_memory else _WORDS),
    ]


def run(
    argv: Sequence[str],
    report: Path,
    limits: Limits,
    tell: Callable[[tuple[Message, ...]], None],
) -> Run:
    """Start a machine, watch what it says in ``report``, and see that it is gone afterwards.

    ``tell`` is given all messages whenever there are more.
    """
    report.write_bytes(b"")
    begun = last = time.monotonic()
    seen: tuple[Message, ...] = ()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            while True:
                # What a process took can be read until somebody has asked how it ended.
                ended = os.waitid(os.P_PID, process.pid, _IF_ENDED) is not None
                said = decode(report.read_bytes())
                now = time.monotonic()
                if len(said) > len(seen):
                    seen, last = said, now
                    tell(seen)
                taken_s = _taken_s(process.pid)
                if ended:
                    return Run(_judged(seen, f"it ended with {process.wait()}"), taken_s)
                late = _late(seen, now - begun, now - last, limits)
                if late:
                    return Run(Lost(late, _tests(seen)), taken_s)
                time.sleep(_LOOK_S)
        except ValueError as error:
            return Run(Lost(str(error), _tests(seen)), _taken_s(process.pid))
        finally:
            _end(process)


def _taken_s(process: int) -> float:
    """Give the processor seconds of a process so far: utime and stime of proc(5)."""
    with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _late(seen: tuple[Message, ...], running_s: float, silent_s: float, limits: Limits) -> str:
    """Say what takes too long, if anything does."""
    if not seen and running_s > limits.first_s:
        return f"it said nothing for {limits.first_s:.0f} s"
    if seen and silent_s > limits.silence_s:
        return f"it hangs: nothing new for {limits.silence_s:.0f} s"
    return f"it took more than {limits.all_s:.0f} s" if running_s > limits.all_s else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _tests(said: tuple[Message, ...]) -> tuple[Ran, ...]:
    """Give each test's last word; one that passed and then failed to clean up has failed."""
    worst: dict[str, Ran] = {}
    for message in said:
        if isinstance(message, Ran):
            before = worst.get(message.test)
            if before is None or before.outcome == "passed":
                worst[message.test] = message
    return tuple(worst.values())


def _judged(said: tuple[Message, ...], how: str) -> Verdict:
    """Judge a machine that has ended: what it did not say did not happen."""
    begun: Begun | None = None
    wanted, status = 0, None
    for message in said:
        match message:
            case Begun():
                begun = message
            case Collected(count):
                wanted = count
            case Ran():
                pass
            case Ended(code):
                status = code
            case _:
                assert_never(message)
    tests = _tests(said)
    if begun is None:
        return Lost(f"{how} and never spoke", tests)
    if status is None:
        return Lost(f"{how} after {len(tests)} of {wanted} tests", tests)
    if not tests or len(tests) != wanted:
        return Lost(f"{len(tests)} tests ran and {wanted} were meant to", tests)
    return Finished(begun.release, begun.tools, tests, status)
