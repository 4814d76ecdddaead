"""iptables-legacy read in process is iptables-legacy as its own tool prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.backends import libiptc
from interceptor.names import Family
from interceptor.parse.iptables_save import parse
from interceptor.system.deadline import Deadline
from tests.lab.cases import CASES, GOLDENS
from tests.lab.netns import namespaces
from tests.lab.paths import IPTABLES_LEGACY, done_well, interceptor

if TYPE_CHECKING:
    from interceptor.model import Ruleset, Table
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_TOOLS = {Family.IP: "iptables-legacy", Family.IP6: "ip6tables-legacy"}

_FOREIGN = """\
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:THEIRS - [0:0]
-A INPUT -p tcp -m tcp ! --dport 22 -m conntrack --ctstate RELATED,ESTABLISHED -j THEIRS
-A THEIRS -m mark ! --mark 0x1/0xff -m comment --comment "it's \\"theirs\\"" -j ACCEPT
-A THEIRS -p udp -m udp --sport 1024:65535
-A OUTPUT -m owner ! --uid-owner 5 -m owner --gid-owner 6 -j DROP
COMMIT
"""


@pytest.mark.parametrize("family", _TOOLS, ids=str)
@pytest.mark.parametrize("case", [*CASES, "foreign"])
def test_both_witnesses_agree(case: str, family: Family) -> None:
    text = _FOREIGN if case == "foreign" else (GOLDENS / f"{case}.{family}").read_text()
    with namespaces("iptc") as (namespace,):
        namespace.run(f"{_TOOLS[family]}-restore", stdin=text)
        saved = namespace.run(f"{_TOOLS[family]}-save")
        with namespace:
            dumped = libiptc.dump(family, Deadline(30))
        assert dumped is not None
        assert _sorted(parse(dumped, family)) == _sorted(parse(saved, family))
        assert namespace.run(f"{_TOOLS[family]}-save").count("\n") == saved.count("\n")


def _sorted(ruleset: Ruleset) -> list[Table]:
    """Give the tables by name: the tool has an order of its own."""
    return sorted(ruleset.tables, key=lambda table: table.name)


def test_status_asks_the_kernel_and_not_the_tool(pod: Pod) -> None:
    """A tool that lies about what is there does not fool it."""
    done_well("install", *IPTABLES_LEGACY.flags, namespace=pod.pod)
    for tool in _TOOLS.values():
        pod.pod.run(tool, "-t", "nat", "-A", "INTERCEPTOR_PROXY", "-j", "ACCEPT")
    found = interceptor("status", namespace=pod.pod)
    assert found.code == 3
    assert "extra-rule" in found.stdout


def test_without_python_iptables_the_tool_is_asked(pod: Pod) -> None:
    done_well("install", *IPTABLES_LEGACY.flags, namespace=pod.pod)
    hide = "import sys; sys.modules['iptc'] = None; from interceptor.cli.main import run; "
    status = pod.pod.run("sh", "-c", f"{_python()} -c \"{hide}sys.exit(run(['status']))\"")
    assert status.startswith("in-sync")


def _python() -> str:
    import sys

    return sys.executable
