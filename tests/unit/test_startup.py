"""Start-up time is a feature: what commands import and how many processes they start is bounded.

Budgets are counts, never seconds; ``make bench`` has the seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.ebpf_node import ebpf_node
from tests.lab.loaded import loaded_by
from tests.lab.paths import IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES, RulePath

if TYPE_CHECKING:
    from tests.lab.pod import Pod

_HEAVY = {"pyroute2", "rich", "scapy", "iptc", "bcc", "yaml", "dataclasses", "json", "pathlib"}


def modules_of(*argv: str, prefix: tuple[str, ...] = ()) -> set[str]:
    """Run a command and give the modules it left loaded."""
    code = f"from interceptor.cli.main import run\ncode = run({list(argv)!r})"
    return loaded_by(code, prefix=prefix)


@pytest.mark.parametrize(
    ("argv", "most"),
    [
        (["--version"], 20),
        (["render"], 55),
        (["config", "show"], 45),
        (["linkerd-proxy-init", "--simulate", "-p", "1", "-o", "2", "-u", "3"], 75),
        (["kuma-transparent-proxy", "--dry-run"], 75),
        (["consul-redirect-traffic", "-dry-run", "-proxy-uid=1", "-proxy-inbound-port=2"], 75),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_pure_commands_import_little(argv: list[str], most: int) -> None:
    loaded = modules_of(*argv)
    assert not loaded & _HEAVY
    assert "interceptor.backends.nftables" not in loaded
    assert len([name for name in loaded if name.startswith("interceptor")]) <= most


@pytest.mark.root
@pytest.mark.parametrize("path", [NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_install_imports_only_its_backend(pod: Pod, path: RulePath) -> None:
    # Where programs are at somebody's sockets they are looked at too.
    with ebpf_node() as node:
        argv = ("install", "--netns", pod.pod.path, *path.flags)
        loaded = modules_of(*argv, prefix=node.prefix)
    assert not loaded & _HEAVY
    assert "interceptor.backends.failures" not in loaded
    assert "interceptor.verify.run" not in loaded
    assert not [name for name in loaded if name.startswith("interceptor.render.graph")]
    if path is NFTABLES:
        assert "interceptor.backends.iptables" not in loaded
    assert len([name for name in loaded if name.startswith("interceptor")]) <= 111
