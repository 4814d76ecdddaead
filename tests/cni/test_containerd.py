"""containerd's CRI: pods as a kubelet asks for them, with annotations, chosen by them or not."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import image
from tests.lab.containerd import Containerd, containerd
from tests.lab.cri import Cri, CriError, Sandbox
from tests.lab.node import APP_PORT, FAR, Node, node, proxied
from tests.lab.paths import done_well
from tests.lab.plugin import ANNOTATIONS, PLUGIN
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_INJECT = {"interceptor.dev/inject": "true"}
_ISTIO = {"sidecar.istio.io/status": '{"revision":"default"}'}
_MANY = 20


class Ground:
    """A containerd, a line to it, and the host it is on."""

    def __init__(self, host: Node, runtime: Containerd, cri: Cri) -> None:
        self.node = host
        self.containerd = runtime
        self.cri = cri

    def start(
        self, pod: str, annotations: dict[str, str] | None = None, namespace: str = "shop"
    ) -> Sandbox:
        """Start a pod and say where it is."""
        made = self.cri.run(pod, namespace=namespace, annotations=annotations)
        return self.cri.status(made)

    @property
    def veths(self) -> list[str]:
        """Give the host's ends of pods' interfaces."""
        links = json.loads(self.node.host.run("ip", "-json", "link", "show", "type", "veth"))
        return [link["ifname"] for link in links if link["ifname"] != "eth0"]

    def clear(self) -> None:
        """Take all pods away."""
        for sandbox in self.cri.sandboxes():
            self.cri.remove(sandbox)


@pytest.fixture(scope="module")
def _ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory = tmp_path_factory.mktemp("containerd")
    with node(directory) as host:
        host.conflist(0, "mesh", exclude_namespaces=["kube-system"])
        own = directory / "containerd"
        own.mkdir()
        with containerd(
            own, conf_dir=host.conf_dir, bin_dir=host.bin_dir, namespace=host.host
        ) as runtime:
            cri = runtime.cri()
            yield Ground(host, runtime, cri)
            cri.close()


@pytest.fixture
def ground(_ground: Ground) -> Iterator[Ground]:
    """The module's, with no pods before and after."""
    yield _ground
    _ground.clear()
    assert _ground.node.attachments() == {}
    assert _ground.veths == []


def _reached(host: Node, pod: Namespace, ip: str, port: int = APP_PORT) -> list[int]:
    """Call a pod from outside and the outside from it; give the ports that took the calls."""
    return [connect(host.outside, ip, port)["port"], connect(pod, FAR, 80)["port"]]


def test_a_pod_that_asks_for_it_is_intercepted(ground: Ground) -> None:
    """Its own containers serve and call; the proxy's ports take both."""
    sandbox = ground.start("cart", _INJECT)
    assert list(ground.node.attachments()) == [sandbox.id]
    app = ground.cri.start(sandbox.id, "serve", str(APP_PORT))
    with proxied(sandbox.netns):
        came = connect(ground.node.outside, sandbox.ip, APP_PORT)
        assert came["original"] == f"{sandbox.ip}:{APP_PORT}"
        done = ground.cri.execute(app, image.APP, "call", FAR, "80")
        went = json.loads(done.stdout)
    assert (came["port"], went["port"]) == (15006, 15001)
    assert went["original"] == f"{FAR}:80"
    ground.cri.stop(sandbox.id)
    assert ground.node.attachments() == {}


def test_the_state_file_says_who_it_is_of(ground: Ground) -> None:
    sandbox = ground.start("cart", _INJECT)
    attachment = ground.node.attachments()[sandbox.id]
    assert (attachment["namespace"], attachment["pod"]) == ("shop", "cart")
    assert attachment["uid"]
    assert attachment["ifname"] == "eth0"
    assert Path(attachment["netns"]).samefile(sandbox.netns)
    assert attachment["netns_inode"] == Path(sandbox.netns).stat().st_ino


@pytest.mark.parametrize(
    ("annotations", "namespace"),
    [
        (None, "shop"),
        ({"prometheus.io/scrape": "true"}, "shop"),
        ({"interceptor.dev/inject": "false", **_ISTIO}, "shop"),
        ({"sidecar.istio.io/inject": "false", **_ISTIO}, "shop"),
        (_INJECT, "kube-system"),
    ],
    ids=["no annotations", "others", "not ours", "not istio's", "excluded namespace"],
)
def test_a_pod_that_is_not_meshed_is_untouched(
    ground: Ground, annotations: dict[str, str] | None, namespace: str
) -> None:
    sandbox = ground.start("plain", annotations, namespace)
    host = ground.node
    with (
        proxied(sandbox.netns, APP_PORT) as pod,
        recorder(host.outside, 80),
    ):
        assert _reached(host, pod, sandbox.ip) == [APP_PORT, 80]
        assert pod.run("nft", "list", "ruleset") == ""
    assert host.attachments() == {}
    [call] = host.log(sandbox.id)
    assert (call["verb"], call["result"]) == ("ADD", "left alone")
    assert call["why"]


@pytest.mark.parametrize(
    "annotations",
    [
        {
            **_INJECT,
            "interceptor.dev/exclude-inbound-ports": "9000-9100",
            "interceptor.dev/exclude-outbound-cidrs": f"{FAR}/32",
        },
        {
            **_INJECT,
            "interceptor.dev/config": json.dumps(
                {"exclude_inbound_ports": "9000-9100", "exclude_outbound_cidrs": f"{FAR}/32"}
            ),
        },
        {
            **_ISTIO,
            "traffic.sidecar.istio.io/excludeInboundPorts": "9001,9000",
            "traffic.sidecar.istio.io/excludeOutboundIPRanges": f"{FAR}/32",
        },
    ],
    ids=["by settings", "by a document", "istio's"],
)
def test_annotations_say_what_is_captured(ground: Ground, annotations: dict[str, str]) -> None:
    sandbox = ground.start("cart", annotations)
    host = ground.node
    with (
        proxied(sandbox.netns, APP_PORT, 9000) as pod,
        recorder(host.outside, 80),
    ):
        assert _reached(host, pod, sandbox.ip) == [15006, 80]
        assert _reached(host, pod, sandbox.ip, 9000) == [9000, 80]
        assert connect(pod, "198.51.100.1", 80)["port"] == 15001
        # What ADD recorded there, any later interceptor finds and judges.
        assert done_well("status", namespace=pod).stdout.startswith("in-sync")


def test_istios_mode_tproxy(ground: Ground) -> None:
    annotations = {**_ISTIO, "sidecar.istio.io/interceptionMode": "TPROXY"}
    sandbox = ground.start("cart", annotations)
    with proxied(sandbox.netns):
        came = connect(ground.node.outside, sandbox.ip, APP_PORT)
    assert (came["port"], came["original"]) == (15006, f"{sandbox.ip}:{APP_PORT}")
    assert ground.node.attachments()[sandbox.id]["settings"]["mode"] == "tproxy"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("interceptor.dev/exclude-inbound-ports", "80800"),
        ("interceptor.dev/exclude-inbound-prots", "8080"),
        ("interceptor.dev/config", '{"exclude_inbound_ports": '),
        ("interceptor.dev/inject", "yes please"),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.0.0.0/33"),
        ("sidecar.istio.io/interceptionMode", "SIDEWAYS"),
    ],
)
def test_a_wrong_annotation_starts_no_pod(ground: Ground, annotation: str, value: str) -> None:
    """The kubelet is told the annotation and its value; corrected, the pod starts."""
    with pytest.raises(CriError) as refused:
        ground.start("cart", {**_INJECT, annotation: value})
    said = str(refused.value)
    assert 'plugin type="interceptor-cni"' in said
    assert f"annotation {annotation}=" in said
    assert value in said
    assert ground.node.attachments() == {}
    assert ground.veths == []
    called, removed = ground.node.log()[-2:]
    assert (called["verb"], called["code"], removed["verb"]) == ("ADD", 7, "DEL")
    assert removed["container"] == called["container"]
    assert not Path(called["netns"]).exists()
    assert ground.cri.sandboxes() == []
    ground.start("cart", _INJECT)


def test_removal_is_repeated_without_harm(ground: Ground) -> None:
    """Once it is stopped, a pod has neither a namespace nor a result; a kubelet still asks on."""
    sandbox = ground.start("cart", _INJECT)
    for _ in range(3):
        ground.cri.stop(sandbox.id)
    for _ in range(2):
        ground.cri.remove(sandbox.id)
    calls = ground.node.log(sandbox.id)
    assert [call["verb"] for call in calls] == ["ADD", *["DEL"] * (len(calls) - 1)]
    assert [bool(call["netns"]) for call in calls[:3]] == [True, True, False]
    assert all("code" not in call for call in calls)


@pytest.mark.parametrize("prev_result", [False, True])
def test_del_needs_no_namespace_and_no_result(ground: Ground, prev_result: bool) -> None:
    """As containerd asks when it has come back and found a pod without either."""
    sandbox = ground.start("cart", _INJECT)
    assert list(ground.node.attachments()) == [sandbox.id]
    [entry] = json.loads((ground.node.conf_dir / "10-mesh.conflist").read_text())["plugins"][2:]
    conf = {**entry, "cniVersion": "1.0.0", "name": "mesh"}
    conf["runtimeConfig"] = {ANNOTATIONS: _INJECT}
    if prev_result:
        conf["prevResult"] = {"cniVersion": "1.0.0", "ips": [], "dns": {}}
    for _ in range(3):
        done = subprocess.run(
            [PLUGIN],
            input=json.dumps(conf),
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            env={
                "CNI_COMMAND": "DEL",
                "CNI_CONTAINERID": sandbox.id,
                "CNI_NETNS": "",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": str(ground.node.bin_dir),
            },
        )
        assert (done.returncode, done.stdout) == (0, "")
        assert ground.node.attachments() == {}


def test_many_pods_at_a_time_are_all_intercepted(ground: Ground) -> None:
    with ThreadPoolExecutor(_MANY) as pool:
        sandboxes = list(pool.map(lambda n: ground.start(f"cart-{n}", _INJECT), range(_MANY)))
    assert set(ground.node.attachments()) == {sandbox.id for sandbox in sandboxes}
    assert len({sandbox.ip for sandbox in sandboxes}) == _MANY
    for sandbox in sandboxes:
        with proxied(sandbox.netns) as pod:
            assert _reached(ground.node, pod, sandbox.ip) == [15006, 15001]
    with ThreadPoolExecutor(_MANY) as pool:
        list(pool.map(lambda sandbox: ground.cri.remove(sandbox.id), sandboxes))
    assert ground.node.attachments() == {}


def test_a_restart_of_containerd_does_not_matter(ground: Ground) -> None:
    before = ground.start("before", _INJECT)
    ground.containerd.restart()
    after = ground.start("after", _INJECT)
    assert set(ground.node.attachments()) == {before.id, after.id}
    for sandbox in (before, after):
        with proxied(sandbox.netns) as pod:
            assert _reached(ground.node, pod, sandbox.ip) == [15006, 15001]
    ground.cri.remove(before.id)
    assert list(ground.node.attachments()) == [after.id]
