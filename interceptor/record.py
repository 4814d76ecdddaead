"""What was installed, written down where it is installed: as comments in a chain of its own.

Nothing calls the chain, so it costs no packet anything. It lives and dies with the rules, is
there for whoever lists them, and lets ``status``, ``verify`` and ``uninstall`` work without flags
and from anywhere. Each comment is ``key=value``; a longer value goes on in comments that begin
with ``+``, and a very long one is packed first, as ``key~=``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from interceptor.dialect import RECORD_CHAIN, RECORD_CHAINS
from interceptor.model import Chain, Return, Rule, Ruleset, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_LINE = 120
"""Characters of one comment, within what both languages take."""

_PACKED_FROM = 20 * _LINE
"""Characters of a value from which on packing is worth that nobody can read it."""

_MOST_UNPACKED = 1 << 24
"""Bytes a packed value may unfold to: whoever is root in a pod can write a record."""

_VERSION, _MADE, _MET = "interceptor", "made", "met"
_MADE_TEXT = re.compile(r"ip6? [a-z]+(?: [A-Z]+)?")


class Record(msgspec.Struct, frozen=True):
    """The installing version, the settings that were not defaults, and what was made for us.

    ``made`` names tables (``ip nat``) and base chains (``ip nat OUTPUT``) that were not there
    before, so that removing our rules can remove them too. ``met`` are fingerprints of the rules
    of others that decided before ours already then, so that they are told from later ones.
    """

    version: str
    settings: Mapping[str, str]
    made: tuple[str, ...] = ()
    met: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Write it down."""
        yield f"{_VERSION}={self.version}"
        if self.made:
            yield from _wrapped(f"{_MADE}={','.join(self.made)}")
        if self.met:
            yield from _wrapped(f"{_MET}={','.join(self.met)}")
        for key, value in self.settings.items():
            if len(value) >= _PACKED_FROM:
                yield from _wrapped(f"{key}~={_pack(value)}")
            else:
                yield from _wrapped(f"{key}={_escape(value)}")

    @classmethod
    def read(cls, lines: Iterable[str]) -> Record | None:
        """Read it back; ``None`` if these are not the lines of a record, or not all of them."""
        values = _values(lines)
        version = values.pop(_VERSION, None)
        if version is None:
            return None
        made = _made(values.pop(_MADE, ""))
        met = values.pop(_MET, "")
        try:
            settings = {
                key.removesuffix("~"): _unpack(value) if key.endswith("~") else _unescape(value)
                for key, value in values.items()
            }
        except ValueError:
            return None
        return cls(version, settings, made, tuple(met.split(",")) if met else ())

    @classmethod
    def find(cls, own: Ruleset) -> Record | None:
        """Look for it in what of ours a kernel holds."""
        return next((found for chain in _chains(own) if (found := cls.read(chain))), None)

    def added_to(self, ruleset: Ruleset) -> Ruleset:
        """Give the rules with the record's chain at the end of the last table.

        In iptables that is one for each family, so that each dump explains itself. There each
        table is a commit of its own, so each says of itself what of it was made for us.
        """
        *others, last = ruleset.tables
        tables = (
            *(_with(table, self._made_of(table)) for table in others),
            _with(last, self.lines()),
        )
        return msgspec.structs.replace(ruleset, tables=tables)

    def _made_of(self, table: Table) -> Iterator[str]:
        own = [one for one in self.made if one.split()[1] == table.name]
        if own:
            yield from _wrapped(f"{_MADE}={','.join(own)}")


def made_for_us(own: Ruleset) -> tuple[str, ...]:
    """Give all that was made for what of ours a kernel holds, also if it was never finished."""
    found = [one for chain in _chains(own) for one in _made(_values(chain).get(_MADE, ""))]
    return tuple(dict.fromkeys(found))


def _chains(own: Ruleset) -> Iterator[list[str]]:
    """Give the comments of each chain of a record."""
    for table in own.tables:
        for name in RECORD_CHAINS:
            if chain := table.chain(name):
                yield [rule.why for rule in chain.rules]


def _with(table: Table, lines: Iterable[str]) -> Table:
    rules = tuple(Rule((), Return(), line) for line in lines)
    if not rules:
        return table
    return msgspec.structs.replace(table, chains=(*table.chains, Chain(RECORD_CHAIN, rules)))


def _values(lines: Iterable[str]) -> dict[str, str]:
    """Read lines of ``key=value``, some of which go on in the next."""
    joined: list[str] = []
    for line in lines:
        if line.startswith("+") and joined:
            joined[-1] += line[1:]
        else:
            joined.append(line)
    return dict(line.split("=", 1) for line in joined if "=" in line)


def _made(text: str) -> tuple[str, ...]:
    return tuple(one for one in text.split(",") if _MADE_TEXT.fullmatch(one))


def without_record(ruleset: Ruleset) -> Ruleset:
    """Give the tables without the record's chain, and all else as it is."""
    tables = tuple(
        msgspec.structs.replace(
            table, chains=tuple(c for c in table.chains if c.name not in RECORD_CHAINS)
        )
        for table in ruleset.tables
    )
    return msgspec.structs.replace(ruleset, tables=tables)


def _wrapped(line: str) -> Iterator[str]:
    yield line[:_LINE]
    for start in range(_LINE, len(line), _LINE - 1):
        yield "+" + line[start : start + _LINE - 1]


def _escape(value: str) -> str:
    """Keep to characters that no kernel tool quotes or cuts."""
    return "".join(
        c
        if c.isascii() and c.isprintable() and c not in "\"'\\%"
        else "".join(f"%{byte:02x}" for byte in c.encode())
        for c in value
    )


def _unescape(value: str) -> str:
    parts = re.split(r"((?:%[0-9a-f]{2})+)", value)
    return "".join(
        bytes.fromhex(part.replace("%", "")).decode(errors="replace")
        if part.startswith("%")
        else part
        for part in parts
    )


def _pack(value: str) -> str:
    import base64
    import zlib

    return base64.b64encode(zlib.compress(value.encode())).decode()


def _unpack(value: str) -> str:
    import base64
    import zlib

    try:
        unfold = zlib.decompressobj()
        unfolded = unfold.decompress(base64.b64decode(value), _MOST_UNPACKED).decode()
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not unfold.eof:
        raise ValueError("it is cut off, or too large")
    return unfolded
