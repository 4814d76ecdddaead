"""The init container from its creation to its end, beside one that does nothing."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.timing import Contender, race, show
from tests.lab import cni, image
from tests.lab.images import INIT, built, name
from tests.lab.node import node
from tests.lab.paths import PROGRAM
from tests.lab.podman import podman

if TYPE_CHECKING:
    from collections.abc import Callable

_EMPTY = "localhost/interceptor-empty:1"
_CONFINED = ("--network", "none", "--read-only", "--cap-drop", "all", "--cap-add", "NET_ADMIN")
_INSTALL = ("install", "--backend", "nftables")


def _empty(directory: Path) -> Path:
    """Give an archive of an image whose one program ends at once."""
    program = directory / "end"
    subprocess.run(
        ["/usr/bin/gcc", "-static", "-Os", "-s", "-x", "c", "-o", program, "-"],
        input=b"int main(void) { return 0; }",
        check=True,
    )
    files = {"end": program.read_bytes()}
    return image.archive(directory / "empty.tar", _EMPTY, "/end", files)


def bench(rounds: int) -> None:
    """Print wall times of containers that podman creates, starts, waits for and removes."""
    made = built()
    with tempfile.TemporaryDirectory() as directory, node(Path(directory)) as host:
        plain = cni.conflist(host.directory, name="plain")
        cni.write(host.conf_dir / "10-plain.conflist", plain)
        own = host.directory / "podman"
        own.mkdir()
        with podman(
            own, conf_dir=host.conf_dir, bin_dir=host.bin_dir, network="plain", namespace=host.host
        ) as runtime:
            for archive in (made / f"{INIT}.tar", _empty(own)):
                runtime.well("load", "--quiet", "--input", str(archive))

            def container(*words: str) -> Callable[[], object]:
                return lambda: runtime.well("run", "--rm", *_CONFINED, *words)

            times = race(
                [
                    Contender("empty container", container(_EMPTY)),
                    Contender("init container --version", container(name(INIT), "--version")),
                    Contender("init container install", container(name(INIT), *_INSTALL)),
                    Contender(
                        "install without a container",
                        lambda: host.outside.run(PROGRAM, *_INSTALL),
                        lambda: host.outside.run("nft", "flush", "ruleset"),
                    ),
                ],
                rounds,
            )
    show(
        "an init container, from create to exit, podman and runc", times, beside="empty container"
    )
