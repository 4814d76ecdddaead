"""A pod's start waits for the plugin: what each verb imports and starts is bounded.

Counts, never seconds; ``make bench`` has those.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.ebpf_node import ebpf_node
from tests.lab.host import Host
from tests.lab.loaded import loaded_by
from tests.lab.plugin import PLUGIN, Network

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_NEVER = {
    *("click", "rich", "pyroute2", "scapy", "yaml", "bcc", "iptc", "kubernetes"),
    *("json", "dataclasses", "pathlib", "hashlib", "secrets", "asyncio", "urllib.request"),
    *("prometheus_client", "watchfiles", "ssl"),
}

_CODE = "import os\nfrom interceptor.cni import plugin\ncode, _ = plugin.run(os.environ)"


def modules_of(network: Network, verb: str, netns: str, annotations: object = None) -> set[str]:
    """Serve one call and give the modules it loaded.

    On a node of its own: where programs are at somebody's sockets they are looked at too.
    """
    with ebpf_node() as node:
        return _served(network, verb, netns, annotations, node.prefix)


def _served(
    network: Network, verb: str, netns: str, annotations: object, prefix: tuple[str, ...]
) -> set[str]:
    return loaded_by(
        _CODE,
        prefix=prefix,
        stdin=network.text(annotations),
        CNI_COMMAND=verb,
        CNI_CONTAINERID="c1",
        CNI_NETNS=netns,
        CNI_IFNAME="eth0",
        CNI_PATH="/opt/cni/bin",
    )


def test_what_each_verb_imports(pod: Pod, tmp_path: Path) -> None:
    network = Network(tmp_path, settings={"backend": "nftables"})
    # Of these, two are to know that nothing of this pod is at sockets: a path, and a cookie in it.
    # One is the C library, which was opened anew by each of seven modules, a class every time.
    for verb, most in (("VERSION", 5), ("ADD", 124), ("CHECK", 96), ("DEL", 88), ("DEL", 17)):
        loaded = modules_of(network, verb, pod.pod.path)
        assert not loaded & _NEVER, verb
        assert not [name for name in loaded if name.startswith("interceptor.verify")]
        assert "interceptor.backends.iptables" not in loaded
        assert not loaded & {"interceptor.system.libbpf", "interceptor.backends.ebpf.machine"}
        ours = [name for name in loaded if name.startswith("interceptor")]
        assert len(ours) <= most, (verb, len(ours))


def test_a_pod_that_is_not_meshed_waits_for_little(pod: Pod, tmp_path: Path) -> None:
    network = Network(tmp_path, selector=["team=a"])
    loaded = modules_of(network, "ADD", pod.pod.path, {"team": "b"})
    ours = [name for name in loaded if name.startswith("interceptor")]
    assert len(ours) <= 23, sorted(ours)
    assert not loaded & (_NEVER | {"subprocess", "tomllib", "ipaddress"})


def test_how_many_processes_an_add_starts(pod: Pod, tmp_path: Path) -> None:
    host = Host(tmp_path, ["nft"])
    counted = tmp_path / "counted"
    host.replace("nft", f'echo "$*" >> {counted}; exec $real "$@"')
    network = Network(tmp_path / "state", settings={"backend": "nftables"})
    done = subprocess.run(
        [*host.prefix, PLUGIN],
        input=network.text(),
        capture_output=True,
        text=True,
        check=True,
        env={
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": pod.pod.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
        },
    )
    assert json.loads(done.stderr)["result"] == "installed"
    assert counted.read_text().splitlines() == ["-f -"]
