"""A node's whole story: pods without us, the installer beside a real containerd, pods with us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import cni
from tests.lab.containerd import containerd
from tests.lab.node import APP_PORT, FAR, node, proxied
from tests.lab.paths import Done, interceptor
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.cri import Cri, Sandbox
    from tests.lab.node import Node

pytestmark = pytest.mark.root

_INJECT = {"interceptor.dev/inject": "true"}


class Story:
    """A node with a containerd on it and nothing of ours, and what an operator does there."""

    def __init__(self, host: Node, cri: Cri, mounts: Path) -> None:
        self._host = host
        self._cri = cri
        self._mounts = mounts
        self._places = (f"--conf-dir={host.conf_dir}", f"--bin-dir={host.bin_dir}")

    def start(self, pod: str) -> Sandbox:
        sandbox = self._cri.status(self._cri.run(pod, namespace="shop", annotations=_INJECT))
        (self._mounts / pod).symlink_to(sandbox.netns)
        return sandbox

    def stop(self, sandbox: Sandbox) -> None:
        self._cri.remove(sandbox.id)

    def is_intercepted(self, sandbox: Sandbox) -> bool:
        """Call the pod from outside, and the outside from it."""
        with (
            recorder(self._host.outside, 80),
            proxied(sandbox.netns, APP_PORT) as pod,
        ):
            ports = [
                connect(self._host.outside, sandbox.ip, APP_PORT)["port"],
                connect(pod, FAR, 80)["port"],
            ]
        assert ports in ([15006, 15001], [APP_PORT, 80])
        return ports == [15006, 15001]

    def new_ones_are_intercepted(self, pods: str) -> bool:
        """Start pods until the runtime has read its configuration again."""
        for n in range(20):
            made = self.start(f"{pods}-{n}")
            found = self.is_intercepted(made)
            self.stop(made)
            if found == (pods == "with"):
                break
        return found

    def cni(self, verb: str, *more: str) -> Done:
        return interceptor("cni", verb, *self._places, *more)

    def pods(self, *more: str) -> Done:
        places = (self._places[0], f"--netns-dir={self._mounts}", "--output=json")
        return interceptor("cni", "pods", *places, *more)


def test_install_find_what_was_missed_and_uninstall(tmp_path: Path) -> None:
    mounts = tmp_path / "netns"
    mounts.mkdir()
    with node(tmp_path) as host:
        plain = cni.write(host.conf_dir / "10-mesh.conflist", cni.conflist(tmp_path))
        before = plain.read_bytes()
        (host.bin_dir / "interceptor-cni").unlink()
        own = tmp_path / "containerd"
        own.mkdir()
        with containerd(
            own, conf_dir=host.conf_dir, bin_dir=host.bin_dir, namespace=host.host
        ) as runtime:
            cri = runtime.cri()
            story = Story(host, cri, mounts)
            early = story.start("early")
            assert not story.is_intercepted(early)

            done = story.cni("install", f"--state-dir={host.state_dir}")
            assert done.code == 0, done
            assert story.new_ones_are_intercepted("with")
            assert not story.is_intercepted(early)

            (found,) = [one for one in story.pods().json["pods"] if one["state"] == "missed"]
            assert (found["namespace"], found["pod"]) == ("shop", "early")
            assert story.pods("--repair").code == 0
            assert story.is_intercepted(early)
            assert early.id in host.attachments()

            assert story.cni("uninstall").code == 0
            assert plain.read_bytes() == before
            assert not (host.bin_dir / "interceptor-cni").exists()
            assert story.new_ones_are_intercepted("without") is False
            # Who was intercepted stays so.
            assert story.is_intercepted(early)
            story.stop(early)
            cri.close()
