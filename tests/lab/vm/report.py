"""The pytest plugin inside: it says on a serial port what happens.

``pytest -p tests.lab.vm.report`` writes to the path in ``VM_REPORT``. Of a run on several
workers only the one that gathers speaks.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.vm.protocol import Begun, Collected, Ended, Message, Ran, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORTER = "vm-reporter"
"""By this name pytest has it."""
_WHY = 2000
_TOOLS = (("nft", "--version"), ("iptables", "--version"), (sys.executable, "--version"))


class Reporter:
    """Writes each message at once: the machine may die at the next test."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._collected = False

    def say(self, message: Message) -> None:
        """Write a line."""
        with open(self._path, "ab", buffering=0) as port:
            port.write(encode(message))

    def _count(self, tests: int) -> None:
        # Every worker collects the same.
        if not self._collected:
            self._collected = True
            self.say(Collected(tests))

    def pytest_sessionstart(self) -> None:
        self.say(
            Begun(
                platform.release(), {os.path.basename(argv[0]): _version(argv) for argv in _TOOLS}
            )
        )

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self._count(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._count(len(ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            why = "" if report.outcome == "passed" else report.longreprtext[-_WHY:]
            self.say(Ran(report.nodeid, report.outcome, round(report.duration, 2), why))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.say(Ended(int(session.exitstatus)))


def _version(argv: tuple[str, ...]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporter(os.environ["VM_REPORT"]), REPORTER)
