"""The words of one iptables rule: ``-p tcp --dport 22 -j RETURN`` into a ``Rule``.

Both ``iptables-save`` dumps and the rows of a sheet are written in these words. They differ in
where values come from (a sheet has ``{names}``) and in what happens to words nobody knows: a
dump keeps them as ``Unreadable``, a sheet refuses them. To add a match, add its class to
``model`` and a line to ``_OPTIONS``; docs/architecture.md says where else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from interceptor import model
from interceptor.parse.literals import Kind, read_dumped, read_literal
from interceptor.parse.modules import read_module
from interceptor.parse.targets import TARGETS, foreign_target, own_target
from interceptor.parse.tokens import Quoted, printed, tokenize
from interceptor.values import Ids

if TYPE_CHECKING:
    from collections.abc import Callable, Container

__all__ = ["Kind", "WordReader", "read_literal", "tokenize"]


class _Option(msgspec.Struct, frozen=True):
    kind: Kind
    match: Callable[..., model.Match]


def _anybody(*, negated: bool) -> model.Match:
    """Ask for a socket: that of any user."""
    return model.Uid(Ids.everything(), negated=negated)


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
    ("owner", "--socket-exists"): _Option(Kind.NOTHING, _anybody),
    ("mark", "--mark"): _Option(Kind.MARKS, model.PacketMark),
    ("connmark", "--mark"): _Option(Kind.MARKS, model.ConnectionMark),
    ("conntrack", "--ctstate"): _Option(Kind.STATES, model.ConnectionState),
    ("socket", "--transparent"): _Option(Kind.NOTHING, model.TransparentSocket),
    ("state", "--state"): _Option(Kind.STATES, model.ConnectionState),
}
"""(module, option) -> value and match; module "" is iptables itself."""

_MODULES = tuple(dict.fromkeys(module for module, _ in _OPTIONS if module))
_BY_OPTION = frozenset(_MODULES) - {"owner", "socket"} | {"comment"}
"""Modules of which each option can be read by itself."""

_ANY_PROTOCOL = frozenset({"0", "all"})
_VERDICTS: dict[str, model.Action] = {
    "ACCEPT": model.Accept(),
    "DROP": model.Drop(),
    "RETURN": model.Return(),
}
_MODULE_WORDS = frozenset({"-m", "--match"})
_GOTO_WORDS = frozenset({"-g", "--goto"})
_TARGET_WORDS = frozenset({"-j", "--jump"}) | _GOTO_WORDS
_COUNTER_WORDS = frozenset({"-c", "--set-counters"})
_OWN_OPTIONS = frozenset({"-f"}) | {option for module, option in _OPTIONS if not module}


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


def _begins_option(word: str) -> bool:
    return word.startswith(("-", "!")) and not isinstance(word, Quoted)


def _is_short(word: str) -> bool:
    return word.startswith("-") and not word.startswith("--")


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
        values: Callable[[Kind, str], Any] = read_dumped,
        *,
        strict: bool = False,
    ) -> None:
        self._words = words
        self._chains = chains
        self._values = values
        self._strict = strict
        self._at = 0
        self._module = ""
        self._protocol = ""
        self._matches: list[model.Match] = []
        self._action: model.Action | None = None
        self._why = ""

    def read(self, text: str = "") -> model.Rule:
        """Read all of it; ``text`` is kept as the line it came from."""
        words = self._words
        while self._at < len(words):
            word = words[self._at]
            self._at += 1
            negated = word == "!"
            if negated:
                word = self._take()
            if word in _MODULE_WORDS or word in _TARGET_WORDS:
                if negated:
                    raise ValueError(f"a '!' stands before {word}, not before an option")
                if word in _MODULE_WORDS:
                    self._begin_module()
                else:
                    self._read_target(goto=word in _GOTO_WORDS)
            elif word == "--comment" and self._module == "comment":
                self._why = self._text()
            else:
                self._read_option(word, negated=negated)
        return model.Rule(tuple(self._matches), self._action or model.Continue(), self._why, text)

    def _take(self) -> str:
        if self._at == len(self._words):
            raise ValueError("a word is missing at its end")
        self._at += 1
        return self._words[self._at - 1]

    def _value(self, kind: Kind) -> Any:
        return self._values(kind, self._take())

    def _text(self) -> str:
        return str(self._value(Kind.TEXT) if self._strict else self._take())

    def _find(self, word: str) -> _Option | None:
        """Look an option up: iptables' own, the module's, or the protocol's without ``-m``."""
        return (
            _OPTIONS.get(("", word))
            or _OPTIONS.get((self._module, word))
            or _OPTIONS.get((self._protocol, word))
        )

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
        if option.match is model.Protocol:
            if value in _ANY_PROTOCOL and not negated:
                return
            self._protocol = self._protocol or value
        self._matches.append(option.match(value, negated=negated))

    def _unread(self, start: int, *, negated: bool) -> None:
        """Keep an option and its values as they are, up to the next option."""
        words = self._words
        if self._strict:
            raise ValueError(_unknown_option(words[start]))
        self._at = start + 1
        if words[start] in _COUNTER_WORDS and all(
            w.isdigit() for w in words[start + 1 : start + 3]
        ):
            self._at = min(start + 3, len(words))
            return
        while self._at < len(words) and not _begins_option(words[self._at]):
            self._at += 1
        kept = printed(words[start : self._at])
        if self._module in ("", "comment") or _is_short(words[start]):
            self._matches.append(model.Unreadable(kept, negated=negated))
        else:
            # The tool takes a negation after -m only.
            no = "! " if negated else ""
            self._matches.append(model.Unreadable(f"-m {self._module} {no}{kept}"))

    def _begin_module(self) -> None:
        """Note which module options are of; those that are read as a whole are read here."""
        self._module = self._take()
        if self._strict:
            if self._module != "comment" and self._module not in _MODULES:
                known = ", ".join(f"-m {module}" for module in _MODULES)
                raise ValueError(f"'-m {self._module}' is no match known here; known are {known}")
            return
        if self._module in _BY_OPTION:
            return
        start = self._at
        group = self._rest_of_module()
        read = read_module(self._module, group)
        if read is None:
            self._at = start
            return
        kinds = {type(match) for match in self._matches}
        if kinds & {model.Source, model.Destination} & {type(match) for match in read}:
            # The tool takes one -s and one -d.
            read = (model.Unreadable(printed(("-m", self._module, *group))),)
        self._matches += read
        self._module = ""

    def _rest_of_module(self) -> tuple[str, ...]:
        """Take all words up to the next module, the target, or an option of iptables itself.

        How many values options have that nobody here knows is not known either: a word right
        after one may be its value, whatever it looks like.
        """
        words, start = self._words, self._at
        for at in range(start, len(words)):
            word = words[at]
            if isinstance(word, Quoted):
                continue
            if word in _MODULE_WORDS or word in _TARGET_WORDS:
                break
            if word == "!":
                word = "".join(words[at + 1 : at + 2])
            if word in _OWN_OPTIONS and not _begins_option(words[at - 1]):
                break
        else:
            at = len(words)
        self._at = at
        return tuple(words[start:at])

    def _read_target(self, *, goto: bool) -> None:
        if self._action is not None:
            raise ValueError("it has two targets")
        name = self._text()
        rest = self._words[self._at :]
        # After a chain and a verdict, which take no options, people write matches.
        if name in self._chains:
            self._action = model.Goto(name) if goto else model.Jump(name)
        elif name in _VERDICTS and not (rest if self._strict else goto):
            self._action = _VERDICTS[name]
        else:
            self._at = len(self._words)
            self._action = self._read_action(name, rest)

    def _read_action(self, name: str, rest: list[str]) -> model.Action:
        try:
            effect = own_target(name, rest, self._values)
        except ValueError:
            if self._strict:
                raise
            effect = None
        if effect is not None:
            return effect
        words = printed((name, *rest))
        if self._strict:
            known = ", ".join((*_VERDICTS, *TARGETS))
            raise ValueError(f"{words!r} is neither a chain here nor an action; known are {known}")
        return foreign_target(name, rest, words)
