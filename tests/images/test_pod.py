"""The pod of images/manifests, played as it stands: installed by its init container, both ways."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.lab import image
from tests.lab.envoy import ADMIN_PORT, configuration
from tests.lab.envoy_image import NAME as ENVOY
from tests.lab.envoy_image import save
from tests.lab.http import fetch
from tests.lab.images import ROOT
from tests.lab.netns import joined
from tests.lab.node import APP_PORT, FAR, OUTSIDE
from tests.lab.pod import PROXY_UID
from tests.lab.traffic import connect, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.node import Node
    from tests.lab.podman import Podman

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # whoever is first builds

_MANIFEST = ROOT / "images/manifests/init-pod.yaml"
_KEPT = {"io.podman.annotations.init.container.type": "always"}
"""podman removes init containers that ended, which Kubernetes does not."""


@pytest.fixture(scope="module")
def ready(runtime: Podman, tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """With a proxy's image."""
    runtime.well("load", "--quiet", "--input", str(save(tmp_path_factory.mktemp("envoy"))))
    return runtime


class Played:
    """A pod made of the manifest, whose proxy and app are the tests' own."""

    def __init__(self, runtime: Podman, path: Path, *arguments: str) -> None:
        self._runtime = runtime
        manifest: dict[str, Any] = yaml.safe_load(_MANIFEST.read_text())
        manifest["metadata"]["annotations"] = _KEPT
        [init] = manifest["spec"]["initContainers"]
        init["args"] += arguments
        proxy, app = manifest["spec"]["containers"]
        proxy |= {
            "image": ENVOY,
            "args": [
                *("--config-yaml", json.dumps(configuration()), "--log-level", "error"),
                *("--file-flush-interval-msec", "20", "--concurrency", "1"),
                "--disable-hot-restart",
            ],
        }
        app |= {"image": image.NAME, "args": ["serve", str(APP_PORT)]}
        path.write_text(yaml.safe_dump(manifest))
        words = ("--network", "plain", "--log-driver", "k8s-file")
        # It waits 20 s and more for the code of an init container that has ended (podman 4.3).
        self.done = runtime("kube", "play", *words, str(path), longest_s=300)

    def inspect(self, container: str) -> Any:
        [said] = json.loads(self._runtime.well("inspect", f"meshed-{container}"))
        return said

    def logs(self, container: str) -> str:
        done = self._runtime("logs", f"meshed-{container}")
        return done.stdout + done.stderr

    @property
    def ip(self) -> str:
        [pod] = json.loads(f"[{self._runtime.well('pod', 'inspect', 'meshed')}]")
        [infra] = json.loads(self._runtime.well("inspect", pod["InfraContainerID"]))
        return str(infra["NetworkSettings"]["Networks"]["plain"]["IPAddress"])


@pytest.fixture
def pod_path(ready: Podman, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "pod.yaml"
    ready("pod", "rm", "--force", "--time", "0", "--all")


def test_its_traffic_goes_through_envoy_both_ways(
    ready: Podman, host: Node, pod_path: Path
) -> None:
    played = Played(ready, pod_path)
    assert played.done.code == 0, played.done
    init = played.inspect("interceptor")
    assert init["State"]["ExitCode"] == 0
    assert init["EffectiveCaps"] == ["CAP_NET_ADMIN"]
    assert init["BoundingCaps"] == ["CAP_NET_ADMIN"]
    assert init["HostConfig"]["ReadonlyRootfs"]
    assert "installed in this network namespace" in played.logs("interceptor")
    pid = played.inspect("app")["State"]["Pid"]
    with joined("pod", f"/proc/{pid}/ns/net") as pod, recorder(host.outside, 80, 9090):
        admin = ("127.0.0.1", ADMIN_PORT, "/ready")
        assert becomes(lambda: "LIVE" in fetch(pod, *admin, uid=PROXY_UID), 20)
        came = connect(host.outside, played.ip, APP_PORT)
        assert (came["who"], came["peer"]) == ("app", "127.0.0.6")
        called = json.loads(ready.well("exec", "meshed-app", image.APP, "call", FAR, "80"))
        assert called["who"] == "outside"
    assert becomes(lambda: len(played.logs("proxy").splitlines()) >= 2), played.logs("proxy")
    entries = dict(line.split(" ", 1) for line in played.logs("proxy").splitlines())
    assert entries["inbound"].startswith(f"{OUTSIDE}:")
    assert f"{FAR}:80" in entries["outbound"]
    assert connect(host.outside, played.ip, 9090) == {"error": "ConnectionRefusedError"}


def test_a_bad_setting_keeps_the_pod_from_starting_and_its_log_says_why(
    ready: Podman, pod_path: Path
) -> None:
    played = Played(ready, pod_path, "--exclude-outbound-cidrs", "10.0.0.0/33")
    assert played.done.code != 0
    assert "exited with code 2" in played.done.stderr
    assert "'10.0.0.0/33'" in played.logs("interceptor")
    assert not played.inspect("app")["State"]["Running"]
