"""A real Envoy, which asks for the original destination itself, both ways and in both families."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.envoy import Envoy, running_envoy
from tests.lab.http import fetch, web_server
from tests.lab.paths import RulePath, done_well
from tests.lab.pod import CLIENT, FAR, POD, POD_SIDE, PROXY_GID, PROXY_UID, Pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root


class Mesh:
    """A pod with an app, Envoy and our rules; ``ask`` makes a request and says what Envoy saw."""

    def __init__(self, pod: Pod, envoy: Envoy) -> None:
        self.pod = pod
        self._envoy = envoy
        self._seen = len(envoy.log(0))

    def ask(
        self,
        where: Namespace,
        host: str,
        port: int,
        *,
        uid: int = 1000,
        gid: int = 0,
        passes: int = 1,
    ) -> tuple[str, list[dict[str, str]]]:
        """Give the answer's body and the connections Envoy logged meanwhile."""
        body = fetch(where, host, port, uid=uid, gid=gid)
        entries = self._envoy.log(self._seen + passes, timeout_s=5.0 if passes else 0.2)
        new = entries[self._seen :]
        self._seen = len(entries)
        return body, new


@pytest.fixture
def mesh(pod: Pod, rule_path: RulePath, tmp_path: Path) -> Iterator[Mesh]:
    with (
        web_server(pod.pod, 8080, 15020, 22),
        web_server(pod.outside, 80),
        running_envoy(pod.pod, tmp_path) as envoy,
    ):
        done_well("install", *rule_path.flags, namespace=pod.pod)
        yield Mesh(pod, envoy)


def test_the_main_job(mesh: Mesh) -> None:
    pod = mesh.pod
    for version, brackets in ((4, "{}"), (6, "[{}]")):
        body, [entry] = mesh.ask(pod.client, POD[version], 8080)
        handover = {4: "127.0.0.6", 6: "::6"}[version]
        assert body == f"hello from pod, you are {handover}"
        assert entry["listener"] == "inbound"
        assert entry["from"].startswith(brackets.format(CLIENT[version]))
        assert entry["upstream"] == f"{brackets.format(POD[version])}:8080"

        body, [entry] = mesh.ask(pod.pod, FAR[version], 80)
        assert body == f"hello from outside, you are {POD_SIDE[version]}"
        assert entry["listener"] == "outbound"
        assert entry["upstream"] == f"{brackets.format(FAR[version])}:80"

        for port in (22, 15020):
            body, entries = mesh.ask(pod.client, POD[version], port, passes=0)
            assert (body, entries) == (f"hello from pod, you are {CLIENT[version]}", [])
        body, entries = mesh.ask(pod.pod, FAR[version], 80, uid=PROXY_UID, passes=0)
        assert (body.startswith("hello from outside"), entries) == (True, [])
        body, entries = mesh.ask(pod.pod, POD[version], 8080, passes=0)
        assert (body.startswith("hello from pod"), entries) == (True, [])

        body, [entry] = mesh.ask(pod.pod, POD[version], 8080, uid=PROXY_UID)
        assert body == f"hello from pod, you are {handover}"
        assert entry["listener"] == "inbound"


def test_verify_goes_through_the_running_proxy(mesh: Mesh) -> None:
    done = done_well("verify", "--output", "json", namespace=mesh.pod.pod)
    notes = {c["note"] for c in done.json["connections"] if c["expected"].startswith("redirect")}
    assert notes == {"through the proxy to its end"}
    assert sorted(done.json["proxy_ports"]) == [15001, 15006]


def test_nothing_is_there_to_connect_to(mesh: Mesh) -> None:
    """Envoy takes the connection and finds nobody: refused, and no endless loop."""
    body, entries = mesh.ask(mesh.pod.client, POD[4], 9999)
    assert body in ("RemoteDisconnected", "ConnectionResetError")
    assert [entry["flags"] for entry in entries] == ["UF,URX"]


def test_uninstalled_the_app_is_reached_directly(mesh: Mesh) -> None:
    done_well("uninstall", namespace=mesh.pod.pod)
    body, entries = mesh.ask(mesh.pod.client, POD[4], 8080, passes=0)
    assert (body, entries) == (f"hello from pod, you are {CLIENT[4]}", [])


@pytest.mark.parametrize("handover", ["all there", "no ip rule"])
def test_in_mode_tproxy_the_app_sees_its_client(
    pod: Pod, rule_path: RulePath, tmp_path: Path, handover: str
) -> None:
    """Envoy calls the app in the client's name; the ip rule brings the answer back to Envoy."""
    with (
        web_server(pod.pod, 8080, 15020),
        web_server(pod.outside, 80),
        running_envoy(pod.pod, tmp_path, transparent=True) as envoy,
    ):
        done_well("install", *rule_path.flags, "--mode", "tproxy", namespace=pod.pod)
        mesh = Mesh(pod, envoy)
        if handover == "no ip rule":
            pod.pod.run("ip", "rule", "del", "fwmark", "1337")
            pod.pod.run("ip", "-6", "rule", "del", "fwmark", "1337")
            assert "hello" not in fetch(pod.client, POD[4], 8080)
            return
        for version in (4, 6):
            body, [entry] = mesh.ask(pod.client, POD[version], 8080)
            assert body == f"hello from pod, you are {CLIENT[version]}"
            assert entry["listener"] == "inbound"
            body, entries = mesh.ask(pod.client, POD[version], 15020, passes=0)
            assert (body, entries) == (f"hello from pod, you are {CLIENT[version]}", [])
            body, [entry] = mesh.ask(pod.pod, FAR[version], 80)
            assert (body.startswith("hello from outside"), entry["listener"]) == (True, "outbound")
            # The proxy's calls of its own pod are inbound to it too.
            body, [entry] = mesh.ask(pod.pod, POD[version], 8080, uid=0, gid=PROXY_GID)
            assert (body.startswith("hello from pod"), entry["listener"]) == (True, "inbound")
