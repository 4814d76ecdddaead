"""What a rule asks and does, in few words of no tool's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from interceptor import model
from interceptor.names import FAMILY_NAMES, Family
from interceptor.values import Mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.values import Network, Networks, Ranges

_MEMBERS = 8
"""How many members of a set are named."""

_LONGEST = 320
"""Characters of one text; no comment the kernel takes has more."""

_SEPARATOR = " · "


def clean(text: str) -> str:
    """Give a text without what cannot be shown, or would turn others round, and not too long."""
    shown = "".join(c if c.isprintable() else _escape(c) for c in text[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def matched(rule: model.Rule) -> str:
    """Say which packets a rule is for."""
    parts = [clean(_match(match)) for match in rule.matches]
    if rule.only:
        parts.append(f"{clean(rule.only)} alone")
    return _SEPARATOR.join(parts) or "everything"


def families(of: Sequence[Family]) -> str:
    """Say which families a table sees."""
    members = dict.fromkeys(one for family in of for one in family.members)
    return " and ".join(FAMILY_NAMES[one] for one in members)


def _match(match: model.Match) -> str:
    words = _plainly(match)
    return f"not {words}" if match.negated else words


def _plainly(match: model.Match) -> str:
    match match:
        case model.FamilyIs(family):
            return families([family])
        case model.InInterface(interfaces):
            return f"in by {_list(interfaces.names)}"
        case model.OutInterface(interfaces):
            return f"out by {_list(interfaces.names)}"
        case model.Source(networks):
            return f"from {_networks(networks)}"
        case model.Destination(networks):
            return f"to {_networks(networks)}"
        case model.Protocol(name):
            return name
        case model.SourcePort(ports):
            return f"from port {_ranges(ports)}"
        case model.DestinationPort(ports):
            return f"to port {_ranges(ports)}"
        case model.Uid(ids):
            return f"user {_ranges(ids)}"
        case model.Gid(ids):
            return f"group {_ranges(ids)}"
        case model.PacketMark(marks):
            return f"mark {_list([str(mark) for mark in marks.marks])}"
        case model.ConnectionMark(marks):
            return f"connection mark {_list([str(mark) for mark in marks.marks])}"
        case model.TcpFlags(mask, flags):
            return f"flags {','.join(flags) or 'none'} of {','.join(mask) or 'none'}"
        case model.TransparentSocket():
            return "has a transparent socket"
        case model.ConnectionState(states):
            return f"state {_list(states)}"
        case model.ForeignMatch(words):
            return words
        case _:
            return type(match).__name__


def _list(members: Sequence[str]) -> str:
    if len(members) > _MEMBERS:
        return f"{','.join(members[:_MEMBERS])} and {len(members) - _MEMBERS:,} more"
    return ",".join(members) or "nothing"


def _ranges(numbers: Ranges) -> str:
    if numbers.is_everything:
        return "any"
    return _list([str(a) if a == b else f"{a}-{b}" for a, b in numbers.ranges])


def _networks(networks: Networks) -> str:
    if networks.is_everything:
        return "anywhere"
    both: tuple[Network, ...] = (*networks.ip, *networks.ip6)
    named = [str(n).removesuffix(f"/{n.max_prefixlen}") for n in both[: _MEMBERS + 1]]
    return _list([*named, *[""] * (len(both) - len(named))])


def action(done: model.Action) -> tuple[str, str]:
    """Say of which kind an action is, and what it does."""
    match done:
        case model.Continue():
            return "pass", "count, go on"
        case model.Accept():
            return "accept", "accept"
        case model.Drop():
            return "drop", "drop"
        case model.Return():
            return "return", "return"
        case model.Jump(chain):
            return "jump", clean(f"jump {chain}")
        case model.Goto(chain):
            return "goto", clean(f"goto {chain}")
        case model.Redirect(port):
            return "redirect", f"redirect to :{port}"
        case model.TProxy(port, mark):
            return "tproxy", f"tproxy to :{port}, mark {mark:#x}"
        case model.SetMark(mark):
            return "pass", f"set mark {mark:#x}, go on"
        case model.SaveMark():
            return "pass", "save mark for the connection, go on"
        case model.RestoreMark():
            return "pass", "take the connection's mark, go on"
        case model.SetZone(zone):
            return "pass", f"conntrack zone {zone}, go on"
        case model.SetConnectionMark(value, mask):
            return "pass", f"set the connection's mark {Mark(value, mask)}, go on"
        case model.TranslateDestination():
            return "dnat", f"dnat to {done.place}"
        case model.SetSource(address):
            return "accept", f"snat to {address}"
        case model.Foreign(words):
            return _foreign_kind(done), clean(words)
        case _:
            assert_never(done)


def _foreign_kind(done: model.Foreign) -> str:
    match done:
        case model.Reject():
            return "drop"
        case model.UnreadableAction():
            return "unknown"
        case _:
            return "pass"


def end(done: model.Action) -> str:
    """Name where an action sends a packet for good; nothing if it does not."""
    match done:
        case model.Redirect(port) | model.TProxy(port):
            return f"proxy :{port}"
        case model.TranslateDestination():
            return done.place or "elsewhere"
        case _:
            return ""
