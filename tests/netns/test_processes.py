"""How many processes a command starts: each costs a pod's start some milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.lab.host import TOOLS, Host
from tests.lab.paths import IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES, RulePath

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


class Started(NamedTuple):
    """What each command starts, one after the other in one namespace that is empty at first."""

    install: tuple[str, ...]
    again: tuple[str, ...]
    status: tuple[str, ...]
    uninstall: tuple[str, ...]


def both(tool: str) -> tuple[str, ...]:
    return tool, tool.replace("iptables", "ip6tables")


_STARTED = {
    # Netlink tells without a process that there is nothing to be read.
    NFTABLES: Started(install=("nft",), again=("nft",), status=("nft",), uninstall=("nft", "nft")),
    IPTABLES_NFT: Started(
        install=both("iptables-nft-restore"),
        again=both("iptables-nft-save"),
        status=both("iptables-nft-save"),
        uninstall=both("iptables-nft-save") + both("iptables-nft-restore"),
    ),
    # Commands that only look ask the kernel themselves.
    IPTABLES_LEGACY: Started(
        install=both("iptables-legacy-restore"),
        again=both("iptables-legacy-save"),
        status=(),
        uninstall=both("iptables-legacy-save") + both("iptables-legacy-restore"),
    ),
}


@pytest.mark.parametrize("path", _STARTED, ids=str)
def test_commands_start_few_processes(pod: Pod, path: RulePath, tmp_path: Path) -> None:
    log = tmp_path / "log"
    # By ldconfig Python finds libraries, libiptc among them.
    host = Host(tmp_path, (*TOOLS, "ldconfig"))
    for tool in TOOLS:
        host.replace(tool, f'echo {tool} >> {log}\nexec $real "$@"')

    def started(*argv: str) -> tuple[str, ...]:
        log.write_text("")
        done = host.interceptor(*argv, "--netns", pod.pod.path)
        assert done.code == 0, done
        return tuple(log.read_text().split())

    flags = ("install", *path.flags)
    found = Started(started(*flags), started(*flags), started("status"), started("uninstall"))
    assert found == _STARTED[path]
