"""The plugin from its bundle, where there is no Python, no nft, no iptables, no shell, no libc."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.bundle import BareHost, Bundle
from tests.lab.paths import NFTABLES, RulePath, dump, interceptor
from tests.lab.plugin import PREV_RESULT, Network, call
from tests.lab.pod import FAR, POD
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


@pytest.fixture
def host(bundle: Bundle, tmp_path: Path) -> BareHost:
    return BareHost(tmp_path / "root", bundle)


def settings_of(path: RulePath) -> dict[str, str]:
    names = [flag.removeprefix("--").replace("-", "_") for flag in path.flags[::2]]
    return dict(zip(names, path.flags[1::2], strict=True))


def test_it_answers(host: BareHost) -> None:
    answer = call("{}", program=host.plugin, CNI_COMMAND="VERSION")
    assert (answer.status, answer.stderr) == (0, "")
    assert "1.1.0" in json.loads(answer.stdout)["supportedVersions"]
    assert sorted(os.listdir(host.root)) == ["opt", "proc", "run", "state"]


def test_it_intercepts_and_lets_go(host: BareHost, pod: Pod, rule_path: RulePath) -> None:
    before = dump(pod.pod)
    network = Network(
        host.state, program=host.plugin, state_dir="/state", settings=settings_of(rule_path)
    )
    with recorder(pod.pod, 15001, 15006), recorder(pod.outside, 80):
        assert network.add(pod.pod.path).stdout == PREV_RESULT
        inbound = connect(pod.client, POD[6], 8080)
        outbound = connect(pod.pod, FAR[4], 80)
    assert (inbound["port"], outbound["port"]) == (15006, 15001)
    status = interceptor("status", "--output", "json", namespace=pod.pod).json
    assert (status["state"], status["backend"]) == ("in-sync", str(rule_path))
    assert network.call("CHECK", pod.pod.path).status == 0
    assert network.attachments
    assert network.call("DEL", pod.pod.path).status == 0
    assert dump(pod.pod) == before
    assert network.attachments == []


def test_it_routes_too(host: BareHost, pod: Pod) -> None:
    settings = {**settings_of(NFTABLES), "mode": "tproxy"}
    network = Network(host.state, program=host.plugin, state_dir="/state", settings=settings)
    before = dump(pod.pod)
    network.add(pod.pod.path)
    assert "fwmark" in dump(pod.pod)
    assert network.call("CHECK", pod.pod.path).status == 0
    assert network.call("DEL", pod.pod.path).status == 0
    assert dump(pod.pod) == before


def test_a_host_that_asks_a_directory_for_names(host: BareHost, pod: Pod) -> None:
    """The libraries that would ask are the host's, and not there or of another C library."""
    (host.root / "etc").mkdir()
    (host.root / "etc/nsswitch.conf").write_text("passwd: sss files\ngroup: sss files\n")
    (host.root / "lib64").mkdir()
    (host.root / "lib64/libnss_sss.so.2").write_bytes(b"\x7fELF of another kind")
    network = Network(host.state, program=host.plugin, state_dir="/state")
    assert network.add(pod.pod.path).stdout == PREV_RESULT


def test_its_tools_are_the_bundles(host: BareHost, pod: Pod) -> None:
    for tool in ("nft", "iptables-nft-save", "ip6tables-legacy"):
        path = f"/opt/cni/bin/.interceptor/{host.bundle.tree.name}/sbin/{tool}"
        with pod.pod:
            done = subprocess.run(
                [*host.prefix, path, "--version"], capture_output=True, text=True, check=True
            )
        assert done.stdout.startswith(("nftables v", "iptables", "ip6tables v"))
