"""The script that leads from one nft table to another."""

from __future__ import annotations

import msgspec

from interceptor.backends.nftables import transition
from interceptor.dialect import OWN
from interceptor.model import Ruleset
from interceptor.render import nftables
from tests.unit.common import rules


def test_chains_stay_and_are_filled_again() -> None:
    held = nftables.lower(rules(), OWN)
    target = nftables.lower(rules(exclude_inbound_ports="80"), OWN)
    script = transition(target, held)
    assert script.startswith("add table inet interceptor\nflush table inet interceptor\n")
    assert "delete" not in script
    assert not transition(target, target)


def test_chains_nobody_calls_any_more_go() -> None:
    held = nftables.lower(rules(), OWN)
    target = nftables.lower(rules(include_inbound_ports=""), OWN)
    deleted = [line for line in transition(target, held).splitlines() if "delete chain" in line]
    chains = {line.rpartition(" ")[2] for line in deleted}
    assert "nat-prerouting" in chains
    assert "interceptor-inbound" in chains
    assert transition(Ruleset(), held) == "delete table inet interceptor\n"


def test_a_dormant_table_is_made_anew() -> None:
    """To wake it and fill it in one transaction is more than every kernel gets right."""
    target = nftables.lower(rules(), OWN)
    dormant = Ruleset(
        tuple(msgspec.structs.replace(table, flags=("dormant",)) for table in target.tables)
    )
    lines = transition(target, dormant).splitlines()
    assert lines[:3] == [
        "add table inet interceptor",
        "delete table inet interceptor",
        "add table inet interceptor",
    ]
