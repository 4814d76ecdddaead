"""The words of one iptables rule: ``-p tcp --dport 22 -j RETURN`` into a ``Rule``.

Both ``iptables-save`` dumps and the rows of a sheet are written in these words. They differ in
where values come from (a sheet has ``{names}``) and in what happens to words nobody knows: a
dump keeps them as ``Unreadable``, a sheet refuses them. To add a match, add its class to
``model`` and a line to ``_OPTIONS``; docs/architecture.md says where else.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor import model
from interceptor.values import (
    FULL_MASK,
    Ids,
    Interfaces,
    Mark,
    Marks,
    Networks,
    Ports,
    merge,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container


class Kind(StrEnum):
    """What type of value an option takes."""

    PORTS = "ports"
    NETWORKS = "networks"
    INTERFACES = "interfaces"
    IDS = "ids"
    MARKS = "marks"
    PROTOCOL = "protocol"
    STATES = "states"
    PORT = "port"
    MARK = "mark"
    ZONE = "zone"
    TEXT = "text"
    NOTHING = "nothing"
    FLAGS = "flags"


class _Option(msgspec.Struct, frozen=True):
    kind: Kind
    match: Callable[..., model.Match]


_OPTIONS: dict[tuple[str, str], _Option] = {
    ("", "-i"): _Option(Kind.INTERFACES, model.InInterface),
    ("", "-o"): _Option(Kind.INTERFACES, model.OutInterface),
    ("", "-s"): _Option(Kind.NETWORKS, model.Source),
    ("", "-d"): _Option(Kind.NETWORKS, model.Destination),
    ("", "-p"): _Option(Kind.PROTOCOL, model.Protocol),
    ("tcp", "--sport"): _Option(Kind.PORTS, model.SourcePort),
    ("tcp", "--dport"): _Option(Kind.PORTS, model.DestinationPort),
    ("tcp", "--tcp-flags"): _Option(Kind.FLAGS, model.TcpFlags),
    ("udp", "--sport"): _Option(Kind.PORTS, model.SourcePort),
    ("udp", "--dport"): _Option(Kind.PORTS, model.DestinationPort),
    ("multiport", "--sports"): _Option(Kind.PORTS, model.SourcePort),
    ("multiport", "--dports"): _Option(Kind.PORTS, model.DestinationPort),
    ("owner", "--uid-owner"): _Option(Kind.IDS, model.Uid),
    ("owner", "--gid-owner"): _Option(Kind.IDS, model.Gid),
    ("mark", "--mark"): _Option(Kind.MARKS, model.PacketMark),
    ("connmark", "--mark"): _Option(Kind.MARKS, model.ConnectionMark),
    ("conntrack", "--ctstate"): _Option(Kind.STATES, model.ConnectionState),
    ("socket", "--transparent"): _Option(Kind.NOTHING, model.TransparentSocket),
    ("state", "--state"): _Option(Kind.STATES, model.ConnectionState),
}
"""(module, option) -> value and match; module "" is iptables itself."""

_MODULES = tuple(dict.fromkeys(module for module, _ in _OPTIONS if module))

_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}
_ANY_PROTOCOL = frozenset({"0", "all"})
_VERDICTS: dict[str, model.Action] = {
    "ACCEPT": model.Accept(),
    "DROP": model.Drop(),
    "RETURN": model.Return(),
}
_NO_EFFECT: dict[str, tuple[str, ...]] = {
    "--nfmask": ("0xffffffff",),
    "--ctmask": ("0xffffffff",),
    "--on-ip": ("0.0.0.0", "::"),  # noqa: S104 - no socket binds it
}
"""Options of targets, with the values by which they say nothing."""

_TARGETS = (
    "REDIRECT --to-ports PORT",
    "TPROXY --on-port PORT --tproxy-mark MARK",
    "MARK --set-mark MARK",
    "CONNMARK --save-mark",
    "CONNMARK --restore-mark",
    "CT --zone ZONE",
)
_TARGET_WORDS = frozenset({"-j", "--jump", "-g", "--goto"})


def read_literal(kind: Kind, text: str) -> Any:
    """Read a value as ``iptables-save`` prints it; ``ValueError`` if it is something else."""
    match kind:
        case Kind.PORTS:
            return _read_ports(text)
        case Kind.NETWORKS:
            return Networks.parse(text)
        case Kind.INTERFACES:
            return Interfaces.parse(text)
        case Kind.IDS:
            return Ids.parse(text)
        case Kind.MARKS:
            return Marks.parse(text)
        case Kind.PROTOCOL:
            return _PROTOCOLS.get(text, text)
        case Kind.STATES:
            return tuple(sorted(text.split(",")))
        case Kind.PORT:
            return Ports.parse_number(text)
        case Kind.MARK:
            return _read_mark(text)
        case Kind.ZONE:
            return _read_zone(text)
        case Kind.FLAGS:
            return _read_flags(text)
        case Kind.TEXT:
            return text


def _read_mark(text: str) -> int:
    """Read a mark of all 32 bits."""
    mark = Mark.parse(text)
    if mark.mask != FULL_MASK:
        raise ValueError(f"{text!r} does not set all bits of a mark")
    return mark.value


def _read_flags(text: str) -> tuple[str, ...]:
    """Read TCP flags."""
    if text == "NONE":
        return ()
    named = model.TCP_FLAGS if text == "ALL" else text.split(",")
    if not set(named) <= set(model.TCP_FLAGS):
        raise ValueError(f"{text!r} are no TCP flags; known are {', '.join(model.TCP_FLAGS)}")
    return tuple(flag for flag in model.TCP_FLAGS if flag in named)


_MOST_ZONES = 1 << 16


def _read_zone(text: str) -> int:
    """Read a conntrack zone."""
    if not (text.isascii() and text.isdigit() and int(text[:9]) < _MOST_ZONES):
        raise ValueError(f"{text!r} is no conntrack zone")
    return int(text)


def _read_ports(text: str) -> Ports:
    """Read ports as the kernel knows them: 0 is one, and a range may be open."""
    ranges = []
    for item in text.split(","):
        low, colon, high = item.partition(":")
        first, last = int(low or 0), int((high or Ports.HIGHEST) if colon else low)
        if not 0 <= first <= last <= Ports.HIGHEST:
            raise ValueError(f"{item!r} is no port and no range of ports")
        ranges.append((first, last))
    return Ports(merge(ranges))


def _unknown_option(word: str) -> str:
    """Say what an option lacks, or that it is none."""
    needed = [
        f"-p {module}" if module in model.PROTOCOLS_WITH_PORTS else f"-m {module}"
        for module, option in _OPTIONS
        if module and option == word
    ]
    if needed:
        return f"{word} needs {' or '.join(needed)} before it in the same row"
    known = ", ".join(dict.fromkeys(option for _, option in _OPTIONS))
    return f"{word!r} is no match known here; known are {known}"


def tokenize(line: str) -> list[str]:
    """Split a line into words, taking back the quotes and backslashes of iptables-save."""
    if '"' not in line:
        return line.split()
    words = []
    for found in re.finditer(r'"((?:[^"\\]|\\.)*)"|(\S+)', line, re.DOTALL):
        quoted, bare = found.groups()
        words.append(bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
    return words


class WordReader:
    """Reads one rule's words from left to right.

    Args:
        words: the rule without its ``-A CHAIN``.
        chains: the names of chains that a ``-j`` may mean.
        values: gives the typed value of an option's text, or ``ValueError``.
        strict: raise ``ValueError`` for what is unknown instead of keeping it unread.
    """

    def __init__(
        self,
        words: list[str],
        chains: Container[str],
        values: Callable[[Kind, str], Any] = read_literal,
        *,
        strict: bool = False,
    ) -> None:
        self._words = words
        self._chains = chains
        self._values = values
        self._strict = strict
        self._at = 0
        self._module = ""
        self._matches: list[model.Match] = []
        self._why = ""

    def read(self, text: str = "") -> model.Rule:
        """Read all of it; ``text`` is kept as the line it came from."""
        action: model.Action = model.Continue()
        while self._at < len(self._words):
            word = self._take()
            negated = word == "!"
            if negated:
                word = self._take()
            if word in ("-m", "--match"):
                self._module = self._take()
                self._read_unknown_module()
            elif word in _TARGET_WORDS:
                action = self._read_target(goto=word in ("-g", "--goto"))
            elif word == "--comment" and self._module == "comment":
                self._why = self._value(Kind.TEXT)
            else:
                self._read_option(word, negated=negated)
        return model.Rule(tuple(self._matches), action, self._why, text)

    def _take(self) -> str:
        if self._at == len(self._words):
            raise ValueError("a word is missing at its end")
        self._at += 1
        return self._words[self._at - 1]

    def _value(self, kind: Kind) -> Any:
        return self._values(kind, self._take())

    def _find(self, word: str) -> _Option | None:
        """Look an option up: iptables' own, the module's, or the protocol's without ``-m``."""
        for module in ("", self._module, self._protocol()):
            if (module, word) in _OPTIONS:
                return _OPTIONS[module, word]
        return None

    def _protocol(self) -> str:
        return next((m.protocol for m in self._matches if isinstance(m, model.Protocol)), "")

    def _read_option(self, word: str, *, negated: bool) -> None:
        start = self._at - 1
        option = self._find(word)
        if option is None:
            self._unread(start, negated=negated)
            return
        if option.kind is Kind.NOTHING:
            self._matches.append(option.match(negated=negated))
            return
        try:
            if option.kind is Kind.FLAGS:
                mask, flags = self._value(Kind.FLAGS), self._value(Kind.FLAGS)
                self._matches.append(option.match(mask, flags, negated=negated))
                return
            value = self._value(option.kind)
        except ValueError:
            if self._strict:
                raise
            self._unread(start, negated=negated)
            return
        if option.match is model.Protocol and value in _ANY_PROTOCOL and not negated:
            return
        self._matches.append(option.match(value, negated=negated))

    def _unread(self, start: int, *, negated: bool) -> None:
        """Keep an option and its values as they are, up to the next option."""
        if self._strict:
            raise ValueError(_unknown_option(self._words[start]))
        self._at = start + 1
        while self._at < len(self._words) and not self._words[self._at].startswith(("-", "!")):
            self._at += 1
        words = " ".join(self._words[start : self._at])
        module = f"-m {self._module} " if words.startswith("--") and self._module else ""
        self._matches.append(model.Unreadable(module + words, negated=negated))

    def _read_unknown_module(self) -> None:
        """Keep a module that has no options known here as it is, up to what follows it."""
        if self._module == "comment" or self._module in _MODULES:
            return
        if self._strict:
            known = ", ".join(f"-m {module}" for module in _MODULES)
            raise ValueError(f"'-m {self._module}' is no match known here; known are {known}")
        start = self._at
        while self._at < len(self._words) and self._words[self._at] not in (
            "-m",
            *_TARGET_WORDS,
        ):
            self._at += 1
        words = " ".join(("-m", self._module, *self._words[start : self._at]))
        self._matches.append(model.Unreadable(words))

    def _read_target(self, *, goto: bool) -> model.Action:
        name = self._value(Kind.TEXT)
        rest = self._words[self._at :]
        self._at = len(self._words)
        if name in self._chains:
            return model.Goto(name) if goto else model.Jump(name)
        if name in _VERDICTS and not rest:
            return _VERDICTS[name]
        try:
            effect = self._effect(name, rest)
        except ValueError:
            if self._strict:
                raise
            effect = None
        if effect is not None:
            return effect
        if self._strict:
            known = ", ".join((*_VERDICTS, *_TARGETS))
            words = " ".join((name, *rest))
            raise ValueError(f"{words!r} is neither a chain here nor an action; known are {known}")
        return model.UnreadableAction(" ".join((name, *rest)))

    def _effect(self, name: str, rest: list[str]) -> model.Action | None:
        """Read a target that does something; ``None`` for one that is not known here."""
        match name, _options(rest):
            case "REDIRECT", {"--to-ports": port, **more} if not more:
                return model.Redirect(self._values(Kind.PORT, port))
            case "TPROXY", {"--on-port": port, "--tproxy-mark": mark, **more} if not more:
                return model.TProxy(self._values(Kind.PORT, port), self._values(Kind.MARK, mark))
            case "MARK", {"--set-mark": mark, **more} if not more:
                return model.SetMark(self._values(Kind.MARK, mark))
            case "MARK", {"--set-xmark": mark, **more} if not more:
                return model.SetMark(self._values(Kind.MARK, mark))
            case "CONNMARK", {"--save-mark": "", **more} if not more:
                return model.SaveMark()
            case "CONNMARK", {"--restore-mark": "", **more} if not more:
                return model.RestoreMark()
            case "CT", {"--zone": zone, **more} if not more:
                return model.SetZone(self._values(Kind.ZONE, zone))
        return None


def _options(words: list[str]) -> dict[str, str]:
    """Give a target's options with their values, without those that say nothing."""
    options: dict[str, str] = {}
    option = ""
    for word in words:
        if word.startswith("--"):
            option = word
            options[option] = ""
        elif option and not options[option]:
            options[option] = word
        else:
            # More than one value: nothing known here has that.
            options[word] = ""
    return {name: v for name, v in options.items() if v not in _NO_EFFECT.get(name, ())}
