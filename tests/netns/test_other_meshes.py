"""Pods that other meshes' own tools have set up are taken over whole, and given back."""

from __future__ import annotations

from itertools import count

import pytest

from interceptor.errors import CommandError
from tests.lab.left import LEFT
from tests.lab.netns import namespaces
from tests.lab.paths import RULE_PATHS, RulePath, by_chain, done_well, dump, interceptor
from tests.netns.test_routing import change, fail_at
from tests.netns.test_takeover import prepare

pytestmark = pytest.mark.root

_WAYS = [(mesh, tool) for mesh, left in LEFT.items() for tool in left.tools]


@pytest.mark.parametrize("foreign", [False, True], ids=["alone", "among others"])
@pytest.mark.parametrize(("mesh", "tool"), _WAYS)
def test_uninstall_knows_what_they_left(mesh: str, tool: str, *, foreign: bool) -> None:
    with namespaces("left") as (namespace,):
        before = prepare(namespace, tool, foreign=foreign)
        LEFT[mesh].put(namespace, tool)
        assert LEFT[mesh].chains in dump(namespace)
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before
        assert interceptor("status", namespace=namespace).stdout.startswith("absent")


@pytest.mark.parametrize(("mesh", "tool"), _WAYS)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_install_replaces_what_they_left(path: RulePath, mesh: str, tool: str) -> None:
    with namespaces("left") as (namespace,):
        before = prepare(namespace, tool, foreign=True)
        LEFT[mesh].put(namespace, tool)
        done = done_well("install", *path.flags, namespace=namespace)
        assert "installed" in done.stdout
        taken = dump(namespace)
        assert LEFT[mesh].chains not in taken
        assert "some reason" not in taken
        assert "10.244.0.7" not in taken
        assert done_well("status", namespace=namespace).stdout.startswith("in-sync")
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before


@pytest.mark.parametrize(("mesh", "tool"), [("kuma", "iptables-nft"), ("consul in nft", "nft")])
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_a_failure_at_any_step_leaves_what_they_left(
    path: RulePath, mesh: str, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = dict(zip(("backend", "iptables_variant"), path.flags[1::2], strict=False))
    with namespaces("left") as (namespace,):
        prepare(namespace, tool, foreign=True)
        LEFT[mesh].put(namespace, tool)
        before = by_chain(dump(namespace))
        for failing in count():
            with monkeypatch.context() as patch:
                fail_at(patch, failing)
                try:
                    change(namespace, **backend)
                    break
                except CommandError:
                    assert by_chain(dump(namespace)) == before, f"step {failing}"
        assert failing >= 2
        assert LEFT[mesh].chains not in dump(namespace)


@pytest.mark.parametrize(("mesh", "tool"), _WAYS)
def test_without_a_record_status_asks_what_was_meant(mesh: str, tool: str) -> None:
    with namespaces("left") as (namespace,):
        prepare(namespace, tool, foreign=False)
        LEFT[mesh].put(namespace, tool)
        done = interceptor("status", namespace=namespace)
        name = "ambient" if "ambient" in mesh else mesh.split(maxsplit=1)[0]
        assert (done.code, f"--sheet {name}" in done.stderr) == (2, True), done
