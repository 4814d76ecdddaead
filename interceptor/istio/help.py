"""The help of ``interceptor istio-iptables``, from the table of options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.istio.options import HEADINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.istio.option import Option

_HEAD = """\
Usage: interceptor istio-iptables [FLAGS]

  Do what istio-iptables does, from its own flags and variables: the same rules, as one change
  that is made as a whole or not at all, whatever is there.

  A flag goes before a variable. What Istio would silently take for something else is refused,
  but with --lenient it is taken as Istio takes it.
"""
_INDENT = " " * 8
_WIDTH = 99


def help_text() -> str:
    """Write all options with their variables and defaults."""
    lines = [_HEAD]
    for heading, options in HEADINGS.items():
        lines += [f"{heading}:", *(line for option in options for line in _lines(option)), ""]
    return "\n".join(lines).rstrip("\n")


def _lines(option: Option) -> Iterator[str]:
    named = f"{option.flags} {option.kind}" if option.is_flag else f"{option.key}={option.kind}"
    yield f"  {named}".rstrip()
    facts = []
    if option.default:
        facts.append(f"default: {option.default}")
    if option.is_flag and option.environment:
        facts.append(f"env: {', '.join(option.environment)}")
    shown = f"[{'; '.join(facts)}]" if facts else ""
    line = f"{_INDENT}{option.help}  {shown}".rstrip()
    if len(line) <= _WIDTH:
        yield line
    else:
        yield f"{_INDENT}{option.help}"
        yield f"{_INDENT}{shown}"
