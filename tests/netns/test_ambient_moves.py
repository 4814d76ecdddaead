"""Ambient's rules in the place of others, and with a real Envoy that marks its sockets."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.envoy import AMBIENT, AMBIENT_MARK, running_envoy
from tests.lab.http import web_server
from tests.lab.left import LEFT
from tests.lab.paths import RulePath, done_well, dump
from tests.lab.pod import CLIENT, FAR, FAR_OTHER, POD, POD_SIDE, Pod
from tests.lab.traffic import connect
from tests.netns.test_envoy import Mesh

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_HAMMER = (sys.executable, "-m", "tests.lab.hammer")
_COUNT = 15000


def _start(namespace: Namespace, *words: str) -> subprocess.Popen[bytes]:
    with namespace:
        pipe = subprocess.PIPE
        return subprocess.Popen([*_HAMMER, *words], stdin=pipe, stdout=pipe, stderr=pipe)


def test_no_connection_escapes_meanwhile(pod: Pod, rule_path: RulePath) -> None:
    """Whatever the app calls, and whoever calls it: nobody is there but the proxy."""
    ambient = ("install", "--sheet", "ambient", *rule_path.flags)
    done_well(*ambient, namespace=pod.pod)
    proxy = _start(pod.pod, "serve", "15001", "15006")
    assert proxy.stdout
    assert proxy.stdout.readline() == b"ready\n"
    ways = {pod.client: (POD, POD_SIDE), pod.pod: (FAR, FAR_OTHER)}
    callers = [
        _start(where, "call", *(host for to in hosts for host in to.values()), str(_COUNT))
        for where, hosts in ways.items()
    ]
    moves = 0
    while all(caller.poll() is None for caller in callers):
        done_well("install", *rule_path.flags, namespace=pod.pod)
        done_well(*ambient, namespace=pod.pod)
        moves += 2
    wrong = [caller.communicate()[:2] for caller in callers]
    codes = [caller.returncode for caller in callers]
    proxy.communicate()
    assert (wrong, codes) == ([(b"", b"")] * 2, [0, 0])
    assert moves >= 2


@pytest.mark.parametrize("left", ["istio ambient", "istio ambient in nft"])
def test_what_istio_left_becomes_a_sidecars(pod: Pod, rule_path: RulePath, left: str) -> None:
    """Its routes are taken over, and nothing of it stays."""
    before = dump(pod.pod)
    LEFT[left].put(pod.pod, LEFT[left].tools[0])
    done_well("install", "--sheet", "ambient", *rule_path.flags, namespace=pod.pod)
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync: ambient")
    assert pod.pod.run("ip", "rule").count("0x111/0xfff") == 1
    done_well("install", *rule_path.flags, namespace=pod.pod)
    held = dump(pod.pod)
    assert "0x111" not in held
    assert "ISTIO" not in held.upper()
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_an_envoy_that_marks_its_sockets(pod: Pod, rule_path: RulePath, tmp_path: Path) -> None:
    """It is ztunnel's equal for plaintext: in as the client, out as itself, never handed back."""
    with (
        web_server(pod.pod, 8080, 15008),
        web_server(pod.outside, 80),
        running_envoy(pod.pod, tmp_path, AMBIENT) as envoy,
    ):
        done_well("install", "--sheet", "ambient", *rule_path.flags, namespace=pod.pod)
        mesh = Mesh(pod, envoy)
        for version, brackets in ((4, "{}"), (6, "[{}]")):
            body, [entry] = mesh.ask(pod.client, POD[version], 8080)
            assert body == f"hello from pod, you are {CLIENT[version]}"
            assert entry["listener"] == "inbound"
            assert entry["upstream"] == f"{brackets.format(POD[version])}:8080"
            body, [entry] = mesh.ask(pod.pod, FAR[version], 80)
            assert body == f"hello from outside, you are {POD_SIDE[version]}"
            assert entry["listener"] == "outbound"
            assert entry["upstream"] == f"{brackets.format(FAR[version])}:80"
            for where, to, port in ((pod.client, POD, 15008), (pod.pod, POD, 8080)):
                body, entries = mesh.ask(where, to[version], port, passes=0)
                assert (body.startswith("hello from pod"), entries) == (True, [])
            # Envoy's mark, and not its user, is what lets it out.
            sent = connect(pod.pod, FAR[version], 81, uid=0, gid=0, mark=AMBIENT_MARK)
            assert sent == {"error": "ConnectionRefusedError"}
