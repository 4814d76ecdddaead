"""podman with CNI networks: bridge, portmap and ours in a chain, for real containers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab import image
from tests.lab.envoy import running_envoy
from tests.lab.netns import joined
from tests.lab.node import APP_PORT, FAR, HOST, OUTSIDE, Node, node, proxied
from tests.lab.podman import Podman, podman
from tests.lab.traffic import connect, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_SERVES = ("serve", str(APP_PORT))
_PUBLISHED = 8000


class Ground:
    """A podman and the host it is on."""

    def __init__(self, host: Node, runtime: Podman) -> None:
        self.node = host
        self.podman = runtime

    @property
    def veths(self) -> list[str]:
        """Give the host's ends of containers' interfaces."""
        links = json.loads(self.node.host.run("ip", "-json", "link", "show", "type", "veth"))
        return [link["ifname"] for link in links if link["ifname"] != "eth0"]


@pytest.fixture(scope="module")
def _ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory = tmp_path_factory.mktemp("podman")
    with node(directory) as host:
        host.conflist(0, "mesh", selector=["*"])
        host.conflist(1, "mesh-0-4-0", "0.4.0", selector=["*"])
        host.conflist(2, "choosy")
        own = directory / "podman"
        own.mkdir()
        with podman(
            own,
            conf_dir=host.conf_dir,
            bin_dir=host.bin_dir,
            network="mesh",
            namespace=host.host,
        ) as runtime:
            yield Ground(host, runtime)


@pytest.fixture
def ground(_ground: Ground) -> Iterator[Ground]:
    """The module's, with no containers before and after."""
    yield _ground
    _ground.podman.clear()


@pytest.mark.parametrize("network", ["mesh", "mesh-0-4-0"])
def test_a_container_is_intercepted_both_ways(ground: Ground, network: str) -> None:
    host = ground.node
    container = ground.podman.start(network, *_SERVES)
    [attachment] = host.attachments().values()
    assert attachment["container_id"] == container.id
    with proxied(container.netns), recorder(host.outside, 80):
        came = connect(host.outside, container.ip, APP_PORT)
        assert (came["who"], came["port"]) == ("pod", 15006)
        assert came["original"] == f"{container.ip}:{APP_PORT}"
        assert came["peer"] == OUTSIDE
        said = ground.podman.well("exec", container.id, image.APP, "call", FAR, "80")
        went = json.loads(said)
        assert (went["who"], went["port"]) == ("pod", 15001)
        assert went["original"] == f"{FAR}:80"
        # As the proxy itself: its own calls leave, or nothing ever would.
        said = ground.podman.well(
            "exec", "--user", "1337", container.id, image.APP, "call", FAR, "80"
        )
        assert json.loads(said)["who"] == "outside"
    ground.podman.remove(container)
    assert host.attachments() == {}
    assert ground.veths == []


def test_a_published_port_reaches_the_app_through_envoy(ground: Ground) -> None:
    """The host's port goes to the container by portmap's rules, there to Envoy by ours."""
    host = ground.node
    flags = ("--publish", f"{_PUBLISHED}:{APP_PORT}")
    container = ground.podman.start("mesh", *_SERVES, flags=flags)
    with (
        joined("pod", container.netns) as pod,
        running_envoy(pod, host.directory) as envoy,
    ):
        came = connect(host.outside, HOST, _PUBLISHED)
        assert came == {"who": "app", "port": APP_PORT, "original": "-", "peer": "127.0.0.6"}
        [entry] = envoy.log(1)
        assert entry["listener"] == "inbound"
        assert entry["from"].startswith(f"{OUTSIDE}:")
        assert entry["upstream"] == f"{container.ip}:{APP_PORT}"
    ground.podman.remove(container)
    assert connect(host.outside, HOST, _PUBLISHED) == {"error": "ConnectionRefusedError"}


def test_a_container_that_nobody_can_choose_does_not_start(ground: Ground) -> None:
    """podman passes no annotations: meshed or not is unknown, and nothing is let through."""
    done = ground.podman("run", "--detach", "--network", "choosy", image.NAME, *_SERVES)
    assert done.code != 0
    assert "interceptor-cni" in done.stderr
    assert "the runtime passes no pod annotations" in done.stderr
    assert 'set the selector to ["*"]' in done.stderr
    assert ground.node.attachments() == {}
    assert ground.veths == []
    [container] = ground.podman.containers()
    calls = ground.node.log(ground.podman.well("inspect", "--format", "{{.Id}}", container))
    assert [(call["verb"], call.get("code", 0)) for call in calls] == [("ADD", 7), ("DEL", 0)]
    ground.podman.well("rm", container)
    # The address it had is free again.
    leases = ground.node.directory / "host-local" / "choosy"
    assert [file for file in leases.iterdir() if file.name.startswith("10.")] == []


def test_a_container_that_ends_by_itself_is_forgotten(ground: Ground) -> None:
    """Its monitor starts podman's clean-up, with a handful of variables: no PATH but its own."""
    container = ground.podman.start("mesh", *_SERVES)
    assert list(ground.node.attachments()) == [container.id]
    ground.podman.well("kill", "--signal", "TERM", container.id)
    assert becomes(lambda: not ground.node.attachments())
    assert becomes(lambda: not ground.veths)
    calls = ground.node.log(container.id)
    assert [(call["verb"], call.get("code", 0)) for call in calls] == [("ADD", 0), ("DEL", 0)]
    ground.podman.well("rm", container.id)
