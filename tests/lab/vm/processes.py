"""The pytest plugin inside that collects once and runs tests in forks of the process that did.

``pytest -p tests.lab.vm.processes --processes 3``. Emulated, importing the tests costs more than
most of them take, so the processes that run them must not import them again. Each takes the next
test from a pipe when it is through with one, and says by a socket what came of it; the one that
collected hands that on to pytest as if it had run them.

With ``--forked`` commands are forks too: see ``forked``.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
import traceback
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.lab.paths import COMMAND_TIMEOUT
from tests.lab.vm.forked import ADDRESS, forkserver
from tests.lab.vm.report import REPORTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest._io import TerminalWriter

_TERMINAL = "terminalreporter"
"""What pytest has by this name writes to the terminal."""
_NUMBER = struct.Struct("!H")
_LONGEST = 1 << 20
"""Bytes of a report, and how many of them may wait to be read."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processes", type=int, default=0, help="forks that run tests")
    parser.addoption("--forked", action="store_true", help="commands are forks, not executions")
    parser.addoption("--command-timeout", help="seconds a command may take, if it is not told")


def pytest_configure(config: pytest.Config) -> None:
    seconds = config.getoption("--command-timeout")
    if seconds:
        os.environ[COMMAND_TIMEOUT] = seconds
    if config.getoption("--forked"):
        stack = ExitStack()
        os.environ[ADDRESS] = stack.enter_context(forkserver()).address
        config.add_cleanup(stack.close)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Have all tests run, and tell what came of them."""
    count = session.config.getoption("--processes")
    if not count or session.testsfailed or session.config.option.collectonly:
        return None
    tests, numbers = os.pipe()
    # So many fit: a pipe holds 64 kB.
    os.write(numbers, b"".join(map(_NUMBER.pack, range(len(session.items)))))
    os.close(numbers)
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
    sys.stdout.flush()
    sys.stderr.flush()
    # What all of them share stays so: looked over for garbage, it would be copied.
    gc.collect()
    gc.freeze()
    processes = [_start(session, tests, theirs, ours) for _ in range(count)]
    os.close(tests)
    theirs.close()
    through: set[str] = set()
    with ours:
        while data := ours.recv(_LONGEST):
            hook = session.config.hook
            report = hook.pytest_report_from_serializable(
                config=session.config, data=msgspec.json.decode(data)
            )
            hook.pytest_runtest_logreport(report=report)
            if report.when == "teardown":
                through.add(report.nodeid)
    ended = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    missed = [item.nodeid for item in session.items if item.nodeid not in through]
    if missed or any(ended):
        # Who watches the machine misses them in the count.
        reporter = session.config.pluginmanager.get_plugin(_TERMINAL)
        if reporter:
            reporter.write_line(f"processes ended with {ended}; not run: {missed}", red=True)
        raise session.Failed
    return True


def _start(session: pytest.Session, tests: int, theirs: socket.socket, ours: socket.socket) -> int:
    """Fork a process that runs tests until there are no more."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        ours.close()
        manager = session.config.pluginmanager
        if manager.has_plugin(REPORTER):
            manager.unregister(name=REPORTER)
        terminal = session.config.get_terminal_writer()
        manager.unregister(name=_TERMINAL)
        manager.register(Sender(session.config, theirs, terminal), _TERMINAL)
        _run(session, tests)
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of it may go on in the first one's place
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _numbers(tests: int) -> Iterator[int]:
    while data := os.read(tests, _NUMBER.size):
        [number] = _NUMBER.unpack(data)
        yield number


def _run(session: pytest.Session, tests: int) -> None:
    numbers = _numbers(tests)
    number = next(numbers, None)
    while number is not None:
        # Which one comes next says which fixtures are of use yet.
        after = next(numbers, None)
        session.config.hook.pytest_runtest_protocol(
            item=session.items[number], nextitem=None if after is None else session.items[after]
        )
        if session.shouldstop or session.shouldfail:
            raise session.Interrupted(session.shouldstop or session.shouldfail)
        number = after


class Sender:
    """Sends each report to the process that collected.

    It stands in the terminal's place, where plugins find what to write by: pytest-timeout does.
    """

    def __init__(
        self, config: pytest.Config, theirs: socket.socket, terminal: TerminalWriter
    ) -> None:
        self._config = config
        self._theirs = theirs
        self._tw = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._theirs.send(msgspec.json.encode(data))
