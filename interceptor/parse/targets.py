"""Targets, ``-j REDIRECT --to-ports 15001``, into actions.

Of those that only others have, the words are kept, and their class says what they do to a packet;
one that may do something else than its class says is unreadable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor import model
from interceptor.parse.literals import Kind, read_literal
from interceptor.values import FULL_MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interceptor.values import Mark

_NO_EFFECT: dict[str, tuple[str, ...]] = {
    "--nfmask": ("0xffffffff",),
    "--ctmask": ("0xffffffff",),
    "--on-ip": ("0.0.0.0", "::"),  # noqa: S104 - no socket binds it
}
"""Options of targets, with the values by which they say nothing."""

TARGETS = (
    "REDIRECT --to-ports PORT",
    "TPROXY --on-port PORT --tproxy-mark MARK",
    "MARK --set-mark MARK",
    "CONNMARK --save-mark",
    "CONNMARK --restore-mark",
    "CONNMARK --set-xmark MARK/MASK",
    "DNAT --to-destination ADDRESS:PORT",
    "SNAT --to-source ADDRESS",
    "CT --zone ZONE",
)
"""Those a sheet may have."""

_NOTES = frozenset(
    [
        *("AUDIT", "CHECKSUM", "CLASSIFY", "CONNSECMARK", "DSCP", "ECN", "HL", "IDLETIMER", "LED"),
        *("LOG", "NFLOG", "RATEEST", "SECMARK", "TCPMSS", "TEE", "TOS", "TRACE", "TTL", "ULOG"),
    ]
)
"""Targets after which the next rule is looked at, and which change nothing that rules ask."""

_MARKS_SET = frozenset({"--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark"})
_MARKS_COPIED = frozenset({"--save-mark", "--restore-mark"})
_MASKS = frozenset({"--mask", "--nfmask", "--ctmask"})
_HELPERS = frozenset({"--helper", "--timeout", "--ctevents", "--expevents"})

_Options = dict[str, tuple[str, ...]]


def own_target(
    name: str, rest: Sequence[str], values: Callable[[Kind, str], Any]
) -> model.Action | None:
    """Read a target that sheets have too; ``None`` for one they have not."""
    match name, _single_options(rest):
        case "REDIRECT", {"--to-ports": port, **more} if not more:
            return model.Redirect(values(Kind.PORT, port))
        case "TPROXY", {"--on-port": port, "--tproxy-mark": mark, **more} if not more:
            return model.TProxy(values(Kind.PORT, port), values(Kind.MARK, mark))
        case "MARK", {"--set-mark": mark, **more} if not more:
            return model.SetMark(values(Kind.MARK, mark))
        case "MARK", {"--set-xmark": mark, **more} if not more:
            return model.SetMark(values(Kind.MARK, mark))
        case "CONNMARK", {"--save-mark": "", **more} if not more:
            return model.SaveMark()
        case "CONNMARK", {"--restore-mark": "", **more} if not more:
            return model.RestoreMark()
        case "CONNMARK", {"--set-xmark": mark, **more} if not more:
            given: Mark = values(Kind.MARK_BITS, mark)
            return model.SetConnectionMark(given.value, given.mask)
        case "DNAT", {"--to-destination": place, **more} if not more:
            return model.TranslateDestination(*values(Kind.PLACE, place))
        case "SNAT", {"--to-source": address, **more} if not more:
            return model.SetSource(values(Kind.ADDRESS, address))
        case "CT", {"--zone": zone, **more} if not more:
            return model.SetZone(values(Kind.ZONE, zone))
    return None


def _single_options(words: Sequence[str]) -> dict[str, str]:
    """Give a target's options with their values, without those that say nothing."""
    options: dict[str, str] = {}
    option = ""
    for word in words:
        if word.startswith("--"):
            if word in options:
                raise ValueError(f"{word} is there twice")
            option = word
            options[option] = ""
        elif option and not options[option]:
            options[option] = word
        else:
            # More than one value: nothing known here has that.
            options[word] = ""
    return {name: v for name, v in options.items() if v not in _NO_EFFECT.get(name, ())}


def foreign_target(name: str, rest: Sequence[str], words: str) -> model.Action:
    """Read any other target and what follows it; ``words`` are both as they were printed."""
    options = _options(rest)
    read: model.Action | None = None
    if name in _NOTES:
        read = model.Note(words)
    elif options is not None:
        read = _read(name, options, words)
    return read or model.UnreadableAction(words)


def _options(rest: Sequence[str]) -> _Options | None:
    """Give each option with its values; ``None`` if one is there twice or a word is of none."""
    options: dict[str, list[str]] = {}
    values: list[str] | None = None
    for word in rest:
        if word.startswith("--"):
            if word in options:
                return None
            options[word] = values = []
        elif values is None:
            return None
        else:
            values.append(word)
    return {option: tuple(given) for option, given in options.items()}


def _read(name: str, options: _Options, words: str) -> model.Action | None:
    match name:
        case "REJECT":
            return model.Reject(words)
        case "NOTRACK" if not options:
            return model.NoTrack(words)
        case "CT":
            return _conntrack(options, words)
        case "MASQUERADE" | "SNAT":
            return model.TranslateSource(words)
        case "MARK":
            return _mark(options, words)
        case "CONNMARK":
            return model.MixMarks(words) if _mixes_marks(options) else None
        case "SET" if options.keys() & {"--add-set", "--del-set"} and "--map-set" not in options:
            return model.Note(words)
    return None


def _conntrack(options: _Options, words: str) -> model.Action | None:
    if options == {"--notrack": ()}:
        return model.NoTrack(words)
    return model.Note(words) if options and options.keys() <= _HELPERS else None


def _mark(options: _Options, words: str) -> model.Action | None:
    """Read what sets some bits; the kernel takes out those of the mask and turns the value's."""
    match list(options.items()):
        case [(option, (text,))] if option in _MARKS_SET:
            bits = _bits(text)
        case _:
            return None
    if bits is None:
        return None
    value, mask = bits
    if "/" in text and option not in ("--set-mark", "--set-xmark"):
        return None
    match option:
        case "--set-mark":
            mask |= value
        case "--and-mark":
            value, mask = 0, value ^ FULL_MASK
        case "--or-mark":
            mask = value
        case "--xor-mark":
            mask = 0
    if mask == FULL_MASK:
        return model.SetMark(value)
    return model.SetMarkBits(words, value, mask)


def _bits(text: str) -> tuple[int, int] | None:
    """Read ``VALUE`` or ``VALUE/MASK``, where the value may have bits the mask has not."""
    try:
        mark: Mark = read_literal(Kind.MARK_BITS, text)
    except ValueError:
        return None
    return mark.value, mark.mask


def _mixes_marks(options: _Options) -> bool:
    """Whether these are just what CONNMARK takes: one thing to do, and masks where it copies."""
    done = [option for option in options if option not in _MASKS]
    masks = [given for option, given in options.items() if option in _MASKS]
    match done:
        case [option] if option in _MARKS_COPIED:
            values = masks if not options[option] else [()]
        case [option] if option in _MARKS_SET and not masks:
            values = [options[option]]
        case _:
            return False
    return all(len(given) == 1 and _bits(given[0]) is not None for given in values)
