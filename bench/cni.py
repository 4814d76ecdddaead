"""The CNI plugin's verbs, beside the reference portmap plugin, which has nothing to do here."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.timing import Contender, race, show
from interceptor.node.bundle import lay
from interceptor.system.deadline import Deadline
from tests.lab.netns import namespaces
from tests.lab.plugin import Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.netns import Namespace

_PORTMAP = "/usr/lib/cni/portmap"
_AT_ONCE = 20
_NFTABLES = {"backend": "nftables"}


def bench(rounds: int) -> None:
    """Print each verb's wall time, and that of twenty ADDs at once."""
    with namespaces(*["bench"] * _AT_ONCE) as pods, tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        lay(str(directory / "bin"), Deadline(60))
        plugin = str(directory / "bin" / "interceptor-cni")
        _one(plugin, directory, pods[0], rounds)
        _many(plugin, directory, [pod.path for pod in pods], rounds)


def _one(plugin: str, directory: Path, pod: Namespace, rounds: int) -> None:
    meshed = Network(directory / "state", settings=_NFTABLES)
    other = Network(directory / "state", selector=["nobody=has-this"])

    def run(program: str, verb: str, network: Network) -> Callable[[], object]:
        return lambda: _call(program, verb, pod.path, network.text({}))

    def clear() -> None:
        pod.run("nft", "flush", "ruleset")

    def add() -> None:
        run(plugin, "ADD", meshed)()

    times = race(
        [
            Contender("portmap ADD", run(_PORTMAP, "ADD", meshed)),
            Contender("ADD", run(plugin, "ADD", meshed), clear),
            Contender("ADD again, nothing to do", run(plugin, "ADD", meshed)),
            Contender("ADD, not meshed", run(plugin, "ADD", other)),
            Contender("CHECK", run(plugin, "CHECK", meshed), add),
            Contender("DEL", run(plugin, "DEL", meshed), add),
            Contender("DEL again", run(plugin, "DEL", meshed)),
            Contender("VERSION", run(plugin, "VERSION", meshed)),
        ],
        rounds,
    )
    show("the CNI plugin as cni install lays it down, nftables", times, beside="portmap ADD")


def _many(plugin: str, directory: Path, paths: list[str], rounds: int) -> None:
    network = Network(directory / "state", settings=_NFTABLES)

    def all_at_once(program: str, verb: str) -> Callable[[], object]:
        def run() -> object:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                text = network.text({})
                return list(pool.map(lambda path: _call(program, verb, path, text), paths))

        return run

    times = race(
        [
            Contender("portmap ADD", all_at_once(_PORTMAP, "ADD")),
            Contender("ADD", all_at_once(plugin, "ADD"), all_at_once(plugin, "DEL")),
        ],
        rounds,
    )
    show(f"{_AT_ONCE} at once", times, beside="portmap ADD")


def _call(program: str, verb: str, netns: str, text: str) -> None:
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": netns.rpartition("/")[2],
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }
    subprocess.run(
        [program],
        input=text.encode(),
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
