"""The matches of others: all the words after one ``-m``, as a dump has them, into matches.

Some options change what others beside them mean, so these modules are read as a whole. What is
not understood to the last word stays unreadable, with the ``!`` where iptables wants it.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, summarize_address_range
from typing import TYPE_CHECKING, NamedTuple

from interceptor import model
from interceptor.parse.tokens import printed
from interceptor.values import Networks

if TYPE_CHECKING:
    from interceptor.values import Network

_ADDRESS_TYPES = {"--src-type": model.SourceIsLocal, "--dst-type": model.DestinationIsLocal}
_ADDRESS_RANGES = {"--src-range": model.Source, "--dst-range": model.Destination}


class _Given(NamedTuple):
    """One option as it was given."""

    option: str
    values: tuple[str, ...]
    negated: bool

    @property
    def words(self) -> str:
        return printed([*(["!"] if self.negated else []), self.option, *self.values])


@lru_cache(maxsize=1 << 12)
def read_module(module: str, words: tuple[str, ...]) -> tuple[model.Match, ...] | None:
    """Read what follows ``-m MODULE``; ``None`` if its options can be read one by one."""
    whole = (model.Unreadable(printed(["-m", module, *words])),)
    match module:
        case "owner":
            # It makes --gid-owner ask for more groups than one.
            return whole if not words or "--suppl-groups" in words else None
        case "socket":
            return (model.TransparentSocket(),) if words == ("--transparent",) else whole
        case "addrtype" | "iprange":
            given = _given(words)
            known = _ADDRESS_TYPES if module == "addrtype" else _ADDRESS_RANGES
            # The others, --limit-iface-in and the like, say more about all.
            if not given or any(one.option not in known for one in given):
                return whole
            read = _local if module == "addrtype" else _within
            return tuple(map(read, given))
    return whole


def _given(words: tuple[str, ...]) -> list[_Given]:
    """Give a module's options with their values; none if they are of another form."""
    given: list[_Given] = []
    negated = False
    for word in words:
        if word == "!" and not negated:
            negated = True
        elif word.startswith("--"):
            given.append(_Given(word, (), negated=negated))
            negated = False
        elif negated or not given:
            return []
        else:
            given[-1] = given[-1]._replace(values=(*given[-1].values, word))
    return [] if negated else given


def _local(given: _Given) -> model.Match:
    """Read a question for an address' type: of these only "this host's own" says where it goes."""
    if given.values != ("LOCAL",):
        return model.Unreadable(f"-m addrtype {given.words}")
    kind = _ADDRESS_TYPES[given.option]
    return kind(f"-m addrtype {given.option} LOCAL", negated=given.negated)


def _within(given: _Given) -> model.Match:
    """Read a range of addresses that is one network; several would be several rules."""
    networks = _networks(given.values)
    if len(networks) != 1:
        return model.Unreadable(f"-m iprange {given.words}")
    return _ADDRESS_RANGES[given.option](Networks.of(networks), negated=given.negated)


def _networks(values: tuple[str, ...]) -> list[Network]:
    if len(values) != 1 or "%" in values[0]:
        return []
    first, _, last = values[0].partition("-")
    try:
        low, high = ip_address(first), ip_address(last or first)
        return list(summarize_address_range(low, high))
    except (TypeError, ValueError):
        return []
