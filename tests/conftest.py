"""Options and fixtures for all tests.

Tests that need root and namespaces are marked ``root`` and skipped for others; ``--no-skips``,
which ``make test`` gives, turns any skip into a failure.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.lab.bundle import Bundle, new_bundle
from tests.lab.paths import EBPF, RULE_PATHS, RulePath, done_well
from tests.lab.pod import Pod, new_pod

if TYPE_CHECKING:
    from collections.abc import Iterator


settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", parent=settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")
"""A change is judged by the same examples each time; --hypothesis-profile search finds others."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")
    parser.addoption("--update-goldens", action="store_true", help="rewrite tests/goldens")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root for network namespaces"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and session.config.getoption("--no-skips") and reporter.stats.get("skipped"):
        reporter.write_line("skips are forbidden here", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def pod() -> Iterator[Pod]:
    """A pod with nothing installed, for this test alone."""
    with new_pod() as made:
        yield made


@pytest.fixture(params=RULE_PATHS, ids=str)
def rule_path(request: pytest.FixtureRequest) -> RulePath:
    """Each way rules can take into the kernel."""
    path: RulePath = request.param
    return path


@pytest.fixture(params=(*RULE_PATHS, EBPF), ids=str)
def any_path(request: pytest.FixtureRequest, pod: Pod) -> Iterator[RulePath]:
    """Each way a policy can take into the kernel; what is the machine's is let go of after."""
    path: RulePath = request.param
    yield path
    if path == EBPF:
        done_well("uninstall", namespace=pod.pod)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of this installation; whoever changes it makes one of his own."""
    return new_bundle(tmp_path_factory.mktemp("bundle"))
