"""The record of an installation: whatever was set comes back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interceptor.dialect import RECORD_CHAINS
from interceptor.names import COMMENT_MAX
from interceptor.record import Record
from tests.unit.common import rules

_VALUES = st.dictionaries(
    st.from_regex(r"[a-z][a-z_]{0,20}", fullmatch=True).filter(
        lambda key: key not in ("interceptor", "made", "met")
    ),
    st.text(max_size=500),
)
_TABLES = st.lists(st.sampled_from(["ip nat", "ip6 nat", "ip raw"]), unique=True).map(tuple)


_MET = st.lists(st.integers(0, 2**32 - 1).map("{:08x}".format), max_size=40).map(tuple)


@given(_VALUES, _TABLES, _MET)
def test_it_is_read_back_as_it_was_written(
    settings: dict[str, str], made: tuple[str, ...], met: tuple[str, ...]
) -> None:
    record = Record("1.2.3", settings, made, met)
    lines = list(record.lines())
    assert Record.read(lines) == record
    for line in lines:
        assert len(line) <= COMMENT_MAX
        assert line.isascii()
        assert line.isprintable()
        assert not set(line) & set("\"'\\")


def test_it_stands_in_a_chain_nothing_calls() -> None:
    ruleset = Record("1", {"inbound_port": "3"}).added_to(rules())
    ruleset.validate()
    assert Record.find(ruleset) == Record("1", {"inbound_port": "3"})
    targets = {rule.target for t in ruleset.tables for c in t.chains for rule in c.rules}
    assert not targets & set(RECORD_CHAINS)


def test_a_packed_value_that_was_cut_off_is_no_value() -> None:
    networks = ",".join(f"10.{n >> 8}.{n & 255}.{n * 7 % 256}" for n in range(3000))
    lines = [*Record("1", {"exclude_outbound_cidrs": networks}).lines()]
    assert Record.read(lines) is not None
    # Cut off where it is no base64 any more, and where it still is.
    assert [Record.read(lines[:-n]) for n in range(1, 9)] == [None] * 8


def test_what_is_no_record_is_none() -> None:
    assert Record.read([]) is None
    assert Record.read(["hello", "a=b"]) is None
    assert Record.find(rules()) is None
