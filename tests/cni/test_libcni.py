"""The CNI project's library runs the chain: it keeps results, and asks whether all is in place."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import cni
from tests.lab.libcni import Libcni, build
from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import NFTABLES, RulePath, done_well, dump
from tests.lab.plugin import ANNOTATIONS
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

_CONTAINER = "0123456789abcdef"
_ANNOTATIONS = {ANNOTATIONS: {"interceptor.dev/inject": "true"}}
_FIRST, _LAST = "SSH, tunnel, health and telemetry ports", "inbound ports that are captured"
"""What the two rules of the chain for inbound connections are for."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the driver."""
    return build(tmp_path_factory.mktemp("libcni"))


class Chain:
    """A host, a container's namespace, and a chain for it with the rules in one way."""

    def __init__(
        self, libcni: Libcni, host: Namespace, container: Namespace, directory: Path
    ) -> None:
        self._libcni = libcni
        self.host = host
        self.container = container
        self.cache = libcni.cache
        self._state = directory / "state"

    def run(self, verb: str, netns: str = "") -> dict[str, Any]:
        """Run a verb and give what is printed: a result, an error, or nothing."""
        done = self._libcni(
            verb, _CONTAINER, netns or self.container.path, capabilities=_ANNOTATIONS
        )
        assert done.code == int("error" in done.stdout), done
        return done.json if done.stdout else {}

    @property
    def attachments(self) -> list[Path]:
        return list(self._state.glob("*.json"))


@pytest.fixture
def chain(program: Path, rule_path: RulePath, tmp_path: Path) -> Iterator[Chain]:
    settings = dict(zip(("backend", "iptables_variant"), rule_path.flags[1::2], strict=False))
    entry = cni.entry(state_dir=str(tmp_path / "state"), settings=settings)
    with namespaces("host", "container") as (host, container):
        libcni = Libcni(program, tmp_path, cni.plugins(tmp_path / "bin"), host)
        cni.write(libcni.conflist, cni.conflist(tmp_path, entry))
        yield Chain(libcni, host, container, tmp_path)


class Inbound:
    """The chain for inbound connections, changed behind the plugin's back."""

    def __init__(self, container: Namespace, path: RulePath) -> None:
        self._container = container
        self._is_nft = path is NFTABLES
        self._iptables = (path.name, "-t", "nat")
        self._chain = "interceptor-inbound" if self._is_nft else "INTERCEPTOR_INBOUND"

    def remove(self, comment: str) -> None:
        """Take a rule away."""
        if self._is_nft:
            listed = self._container.run("nft", "--json", "list", "ruleset")
            rules = [one["rule"] for one in json.loads(listed)["nftables"] if "rule" in one]
            [handle] = [rule["handle"] for rule in rules if rule.get("comment") == comment]
            where = ("inet", "interceptor", self._chain)
            self._container.run("nft", "delete", "rule", *where, "handle", str(handle))
        else:
            number = str(1 + (_FIRST, _LAST).index(comment))
            self._container.run(*self._iptables, "-D", self._chain, number)

    def append_first(self) -> None:
        """Put the rule of some ports behind the one of all, where it is never reached."""
        ports = ("22", "15008", "15020", "15021", "15090")
        if self._is_nft:
            rule = f'tcp dport {{ {",".join(ports)} }} counter return comment "{_FIRST}"'
            line = f"add rule inet interceptor {self._chain} {rule}"
            self._container.run("nft", "-f", "-", stdin=line)
        else:
            matches = ("-p", "tcp", "-m", "multiport", "--dports", ",".join(ports))
            comment = ("-m", "comment", "--comment", _FIRST)
            self._container.run(
                *self._iptables, "-A", self._chain, *matches, *comment, "-j", "RETURN"
            )


@pytest.fixture
def inbound(chain: Chain, rule_path: RulePath) -> Inbound:
    return Inbound(chain.container, rule_path)


def test_add_check_and_del(chain: Chain, rule_path: RulePath) -> None:
    before = dump(chain.container)
    assert chain.run("validate") == {}
    result = chain.run("add")
    [address] = result["ips"]
    assert [one["name"] for one in result["interfaces"]][0::2] == ["cni-test0", "eth0"]
    ip = address["address"].partition("/")[0]
    with recorder(chain.container, 15006):
        assert connect(chain.host, ip, 8080)["port"] == 15006
    assert chain.run("check") == {}
    in_force = done_well("status", "--output", "json", namespace=chain.container).json
    assert (in_force["state"], in_force["backend"]) == ("in-sync", rule_path.name)
    assert len(chain.attachments) == 1
    assert chain.run("del") == {}
    assert dump(chain.container) == before
    assert chain.attachments == []
    # What the library kept is gone too: now no plugin is told a result.
    assert chain.run("del") == {}


def test_a_rule_that_is_missing_fails_the_check(chain: Chain, inbound: Inbound) -> None:
    chain.run("add")
    inbound.remove(_LAST)
    said = chain.run("check")
    assert said["code"] == 102
    assert said["details"].startswith("missing-rule ")
    assert _LAST in said["details"]
    assert _FIRST not in said["details"]
    chain.run("del")
    chain.run("add")
    assert chain.run("check") == {}


def test_rules_out_of_order_fail_the_check(chain: Chain, inbound: Inbound) -> None:
    chain.run("add")
    inbound.remove(_FIRST)
    inbound.append_first()
    said = chain.run("check")
    assert said["code"] == 102
    assert said["details"].startswith("moved-rule ")
    assert _LAST in said["details"]


def test_rules_that_are_all_gone_fail_the_check(chain: Chain) -> None:
    chain.run("add")
    done_well("uninstall", namespace=chain.container)
    assert chain.run("check")["code"] == 102
    assert chain.run("del") == {}


def test_removal_without_what_the_library_kept(chain: Chain) -> None:
    before = dump(chain.container)
    chain.run("add")
    assert len(chain.attachments) == 1
    shutil.rmtree(chain.cache)
    assert chain.run("del") == {}
    assert dump(chain.container) == before
    assert chain.attachments == []


def test_removal_after_the_namespace_is_gone(chain: Chain) -> None:
    with namespaces("gone") as (gone,):
        chain.run("add", gone.path)
        assert len(chain.attachments) == 1
    for _ in range(2):
        assert chain.run("del", gone.path) == {}
        assert chain.attachments == []
