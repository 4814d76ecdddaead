"""``detect`` in live pods: ours on every rule path, what others left, several at once, none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.ebpf_node import ebpf_node
from tests.lab.left import LEFT
from tests.lab.netns import namespaces
from tests.lab.paths import RULE_PATHS, RulePath, done_well, dump, interceptor
from tests.netns.test_takeover import prepare

if TYPE_CHECKING:
    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_WAYS = [(mesh, tool) for mesh, left in LEFT.items() for tool in left.tools]
_IN_SYNC = {"linkerd", "osm", "osm with the pod's address", "istio-1.5", "istio-0.1"}
"""What is left exactly as today's sheet of it has it."""


def detected(namespace: Namespace, code: int) -> dict[str, Any]:
    done = interceptor("detect", "--output", "json", namespace=namespace)
    assert done.code == code, done
    return done.json


def test_where_there_is_nothing_no_mesh_is_found() -> None:
    with namespaces("none") as (namespace,):
        done = interceptor("detect", namespace=namespace)
        assert (done.code, done.stdout) == (3, f"no mesh intercepts in {namespace.path}\n")


@pytest.mark.parametrize("sheet", ["sidecar", "istio", "linkerd"])
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_ours_is_named_with_its_settings(path: RulePath, sheet: str) -> None:
    with namespaces("ours") as (namespace,):
        prepare(namespace, path.name, foreign=True)
        before = dump(namespace)
        more = ("--sheet", sheet, "--inbound-port", "16", "--exclude-outbound-ports", "81,90-99")
        # Istio's own rules break properties by these.
        unproven = ("--unproven",) if sheet == "istio" else ()
        done_well("install", *path.flags, *more, *unproven, namespace=namespace)
        held = dump(namespace)
        (found,) = detected(namespace, 0)["meshes"]
        assert (found["sheet"], found["verdict"], found["backend"]) == (
            sheet,
            "in-sync",
            path.name,
        )
        assert found["families"] == ["ip", "ip6"]
        assert found["settings"] == {"inbound_port": "16", "exclude_outbound_ports": "81,90-99"}
        assert bool(found["recorded_by"]) == (sheet != "istio")
        assert dump(namespace) == held
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before
        # What it says installs the same.
        words = found["install"].split()
        assert words[:2] == ["interceptor", "install"]
        done_well("install", *path.flags, *words[2:], *unproven, namespace=namespace)
        (again,) = detected(namespace, 0)["meshes"]
        assert again == found


_CHANGES = {
    "nftables": "nft insert rule inet interceptor interceptor-outbound tcp dport 5 accept",
    "iptables-nft": "iptables-nft -t nat -I INTERCEPTOR_OUTBOUND -p tcp --dport 5 -j ACCEPT",
    "iptables-legacy": "iptables-legacy -t nat -I INTERCEPTOR_OUTBOUND -p tcp --dport 5 -j ACCEPT",
}


@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_drift_is_found_and_told(path: RulePath) -> None:
    with namespaces("drift") as (namespace,):
        prepare(namespace, path.name, foreign=True)
        done_well("install", *path.flags, namespace=namespace)
        namespace.run(*_CHANGES[path.name].split())
        (found,) = detected(namespace, 3)["meshes"]
        assert (found["sheet"], found["verdict"]) == ("sidecar", "drifted")
        assert [finding["kind"] for finding in found["findings"]] == ["extra-rule"]
        assert found["changes"]
        said = interceptor("detect", namespace=namespace).stdout
        assert said.startswith(f"drifted: sidecar on {path.name} in {namespace.path}")
        assert "extra-rule" in said


def test_an_address_that_is_gone_is_drift() -> None:
    with namespaces("gone") as (namespace,):
        prepare(namespace, "nftables", foreign=False)
        done_well("install", "--backend", "nftables", namespace=namespace)
        namespace.run("ip", "-6", "address", "del", "::6/128", "dev", "lo")
        (found,) = detected(namespace, 3)["meshes"]
        assert [finding["kind"] for finding in found["findings"]] == ["missing-address"]


@pytest.mark.parametrize(("mesh", "tool"), _WAYS)
def test_what_others_left_is_named(mesh: str, tool: str) -> None:
    with namespaces("left") as (namespace,):
        prepare(namespace, tool, foreign=True)
        LEFT[mesh].put(namespace, tool)
        done = interceptor("detect", "--output", "json", namespace=namespace)
        (found,) = done.json["meshes"]
        assert found["sheet"] == ("ambient" if "ambient" in mesh else mesh.split(maxsplit=1)[0])
        assert found["backend"] == ("nftables" if tool == "nft" else tool)
        assert not found["recorded_by"]
        if mesh in _IN_SYNC:
            assert not [f for f in found["findings"] if not f["kind"].startswith("missing-a")]


def test_two_meshes_in_two_languages_are_both_named() -> None:
    with namespaces("two") as (namespace,):
        prepare(namespace, "nftables", foreign=False)
        done_well("install", "--backend", "nftables", namespace=namespace)
        LEFT["linkerd"].put(namespace, "iptables-legacy")
        found = interceptor("detect", "--output", "json", namespace=namespace).json["meshes"]
        assert {(one["sheet"], one["backend"]) for one in found} == {
            ("sidecar", "nftables"),
            ("linkerd", "iptables-legacy"),
        }


def test_programs_at_sockets_are_named() -> None:
    with ebpf_node() as node, namespaces("pod") as (pod,):
        pod.address("lo", "10.9.0.1/32")
        node.done_well("install", "--backend", "ebpf", "--outbound-port", "7", namespace=pod)
        done = node.call("detect", "--output", "json", namespace=pod)
        (found,) = done.json["meshes"]
        assert (done.code, found["backend"], found["verdict"]) == (0, "ebpf", "in-sync")
        assert found["settings"] == {"outbound_port": "7"}
