"""The DaemonSet's container, run as it is declared: it makes a node whose pods are intercepted."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.lab.containerd import containerd
from tests.lab.http import fetch
from tests.lab.images import ROOT
from tests.lab.netns import joined
from tests.lab.node import APP_PORT, FAR, proxied
from tests.lab.traffic import connect, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.cri import Cri
    from tests.lab.node import Node
    from tests.lab.podman import Podman

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # whoever is first builds

_MANIFEST = ROOT / "images/manifests/cni/daemonset.yaml"
_INJECT = {"interceptor.dev/inject": "true"}
_PORT = 15015
_SAID = {"/livez": "alive", "/readyz": "installed and in order"}


def flags(spec: dict[str, Any], paths: dict[str, Path]) -> list[str]:
    """Say to podman what the pod's spec says to a kubelet; the node's paths are the test's."""
    [container] = spec["containers"]
    context = container["securityContext"]
    said = ["--network", "host" if spec["hostNetwork"] else "none"]
    said += ["--user", f"{context['runAsUser']}:{context['runAsGroup']}"]
    said += ["--cap-drop", "all", "--cap-add", ",".join(context["capabilities"]["add"])]
    if not context["allowPrivilegeEscalation"]:
        said += ["--security-opt", "no-new-privileges"]
    if context["readOnlyRootFilesystem"]:
        said += ["--read-only", "--read-only-tmpfs=false"]
    volumes = {one["name"]: one for one in spec["volumes"]}
    for mount in container["volumeMounts"]:
        volume, path = volumes[mount["name"]], mount["mountPath"]
        if "emptyDir" in volume:
            said += ["--mount", f"type=tmpfs,destination={path}"]
            continue
        how = ["ro"] if mount.get("readOnly") else ["rw"]
        how += ["rslave"] if mount.get("mountPropagation") == "HostToContainer" else []
        source = paths[volume["hostPath"]["path"]]
        source.mkdir(exist_ok=True)
        said += ["--volume", f"{source}:{path}:{','.join(how)}"]
    return said


def _is_intercepted(host: Node, cri: Cri, pod: str) -> bool:
    """Start a pod, call it from outside and the outside from it, and take it away."""
    sandbox = cri.status(cri.run(pod, namespace="shop", annotations=_INJECT))
    with recorder(host.outside, 80), proxied(sandbox.netns, APP_PORT) as inside:
        ports = [
            connect(host.outside, sandbox.ip, APP_PORT)["port"],
            connect(inside, FAR, 80)["port"],
        ]
    cri.remove(sandbox.id)
    return ports == [15006, 15001]


def test_a_node_gets_the_plugin_and_says_so(host: Node, runtime: Podman, tmp_path: Path) -> None:
    spec = yaml.safe_load(_MANIFEST.read_text())["spec"]["template"]["spec"]
    [container] = spec["containers"]
    (host.bin_dir / "interceptor-cni").unlink(missing_ok=True)
    paths = {
        "/opt/cni/bin": host.bin_dir,
        "/etc/cni/net.d": host.conf_dir,
        "/run": tmp_path / "run",
        "/var/lib/cni": tmp_path / "cache",
    }
    words = [*container["args"], f"--state-dir={host.state_dir}"]
    runtime.well(
        *("run", "--detach", "--name", "agent", "--log-driver", "k8s-file"),
        *flags(spec, paths),
        container["image"],
        *words,
    )
    with joined("agent", host.host.path) as node:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            said = _SAID[asked["path"]]
            fetched = partial(fetch, node, asked["host"], asked["port"], asked["path"])
            answers = becomes(lambda f=fetched, s=said: s in f(), 30)  # type: ignore[misc]
            assert answers, runtime("logs", "agent")
    assert "interceptor_cni_installed 1" in fetch(host.host, "127.0.0.1", _PORT, "/metrics")
    [network] = host.conf_dir.glob("*.conflist")
    last = json.loads(network.read_text())["plugins"][-1]
    assert (last["type"], last["interceptor"]["exclude_namespaces"]) == (
        "interceptor-cni",
        ["kube-system"],
    )
    own = tmp_path / "containerd"
    own.mkdir()
    with containerd(
        own, conf_dir=host.conf_dir, bin_dir=host.bin_dir, namespace=host.host
    ) as started:
        cri = started.cri()
        assert _is_intercepted(host, cri, "cart")
        cri.close()
    # Told to end, it does so at once and leaves the node as it is.
    runtime.well("stop", "--time", "10", "agent")
    assert "the installation stays in place" in runtime.well("logs", "agent")
    [ended] = json.loads(runtime.well("inspect", "agent"))
    assert ended["State"]["ExitCode"] == 0
    assert (host.bin_dir / "interceptor-cni").exists()
