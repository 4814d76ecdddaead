"""A failure at any table of any family leaves the namespace as it was, on the real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.host import Host
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RulePath,
    by_chain,
    done_well,
    dump,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_EVERY_TABLE = ("--mode", "tproxy", "--capture-dns", "all", "--drop-invalid")
_OLD = ("--exclude-outbound-ports", "3000")

_AFTER_TABLES = """\
[ -e {marker} ] && exec $real "$@"
touch {marker}
awk '{{ print }} /^COMMIT/ {{ if (++n == {tables}) exit }}' | $real "$@"
echo "line 1 failed" >&2
exit 1"""
"""Gives the tool so many tables of its input, once, and then fails, as a kernel may."""


@pytest.mark.parametrize("old", [(), _OLD], ids=["over nothing", "over another configuration"])
@pytest.mark.parametrize("tables", [0, 1, 2, 3])
@pytest.mark.parametrize("tool", ["iptables", "ip6tables"])
@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_a_failure_after_some_tables_of_a_family(
    pod: Pod, tmp_path: Path, path: RulePath, tool: str, tables: int, old: tuple[str, ...]
) -> None:
    if old:
        done_well("install", *path.flags, *old, namespace=pod.pod)
    before = dump(pod.pod)
    host = Host(tmp_path)
    host.replace(
        f"{tool}-{path.name.removeprefix('iptables-')}-restore",
        _AFTER_TABLES.format(marker=tmp_path / "failed", tables=tables),
    )
    done = host.interceptor("install", "--netns", pod.pod.path, *path.flags, *_EVERY_TABLE)
    assert done.code == 1, done
    assert (tmp_path / "failed").exists()
    assert by_chain(dump(pod.pod)) == by_chain(before)


@pytest.mark.parametrize("old", [(), _OLD], ids=["over nothing", "over another configuration"])
def test_a_failure_after_the_whole_nft_script(
    pod: Pod, tmp_path: Path, old: tuple[str, ...]
) -> None:
    if old:
        done_well("install", *NFTABLES.flags, *old, namespace=pod.pod)
    before = dump(pod.pod)
    host = Host(tmp_path)
    host.replace(
        "nft",
        f'case "$*" in *list*) exec $real "$@";; esac\n'
        f'[ -e {tmp_path / "failed"} ] && exec $real "$@"\n'
        f'touch {tmp_path / "failed"}; $real "$@"; echo no >&2; exit 1',
    )
    done = host.interceptor("install", "--netns", pod.pod.path, *NFTABLES.flags, *_EVERY_TABLE)
    assert done.code == 1, done
    assert by_chain(dump(pod.pod)) == by_chain(before)
