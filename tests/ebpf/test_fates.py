"""The contract's table of connections, through eBPF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.errors import HostError
from tests.contract.test_fates import CONFIGURATIONS, DNS, INBOUND, OUTBOUND, _fate, world
from tests.lab.ebpf import Lab, lab_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root
__all__ = ["world"]

_LACKING = ("--exclude-interfaces", "--virtual-interfaces")
_REFUSED = {
    name for name, (flags, _) in CONFIGURATIONS.items() if {"tproxy", *_LACKING} & set(flags)
}


@pytest.fixture(scope="module")
def lab(world: Pod) -> Iterator[Lab]:
    with lab_machine() as made:
        # Routes and addresses are another backend's: what the proxy hands IPv6 over from.
        world.pod.address("lo", "::6/128")
        yield made


@pytest.mark.parametrize("name", sorted(set(CONFIGURATIONS) - _REFUSED))
def test_every_connection_meets_its_fate(world: Pod, lab: Lab, name: str) -> None:
    flags, cases = CONFIGURATIONS[name]
    lab.put(world.pod, *flags)
    changed = name == "other ports"
    ports = {
        "proxy IN": 25006 if changed else INBOUND,
        "proxy OUT": 25001 if changed else OUTBOUND,
        "proxy DNS": DNS,
    }
    wrong = [
        f"{case.what} (IPv{version}): {found}, not {case.expect}"
        for case in cases
        for version in case.to
        if (found := _fate(world, case, version, ports)) != case.expect
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(_REFUSED))
def test_what_it_cannot_do_is_refused_by_name(world: Pod, lab: Lab, name: str) -> None:
    flags, _ = CONFIGURATIONS[name]
    with pytest.raises(HostError, match="the eBPF backend has no --") as refused:
        lab.put(world.pod, *flags)
    assert refused.value.exit_code == 4
    named = refused.value.message.split()[5].rstrip(":")
    assert named in flags
