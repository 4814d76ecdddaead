"""Read iptables-legacy by python-iptables and libiptc, as ``iptables-save`` would print it.

It is a second witness beside the tool that wrote the rules, needs no binary and takes no lock;
``status`` asks it. Its import costs 150 ms, fifty times what ``iptables-legacy-save`` takes,
so ``install``, which holds up a pod, does not. python-iptables is optional (it has no wheels):
without it, or where it does not know an extension, the tool is asked.

Each family is read in a child process: once libxtables has loaded an extension for one family it
does not find it for the other (REDIRECT, in 1.8.9), and some of its errors end the process.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from interceptor.names import Family
from interceptor.render.iptables import quote
from interceptor.system import host
from interceptor.system.command import isolated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.system.deadline import Deadline

_ANYWHERE = frozenset({"0.0.0.0/0", "::/0"})
_ANY_PROTOCOL = "ip"
"""What python-iptables says for a rule without a protocol."""


def dump(family: Family, deadline: Deadline) -> str | None:
    """Give all tables of one family that this namespace has; ``None`` if this cannot be done."""
    try:
        import iptc
    except Exception:  # noqa: BLE001 - its import looks for libraries, with a compiler if need be
        return None
    kind = iptc.Table if family is Family.IP else iptc.Table6
    names = sorted(host.legacy_tables(ipv6=family is Family.IP6))

    def read() -> str:
        # To tell a chain from an extension the library opens every table it knows of, and the
        # kernel makes those that are not there.
        kind.ALL = names
        return "".join(f"{line}\n" for name in names for line in _table(kind, name))

    return isolated(read, deadline)


def _table(kind: Any, name: str) -> Iterator[str]:
    # Without autocommit: reading must not write the table back.
    table = kind(name, autocommit=False)
    # The library keeps one handle a table; this opens it in the namespace we are in now.
    table.refresh()
    yield f"*{name}"
    chains = list(table.chains)
    for chain in chains:
        policy = chain.get_policy().name if chain.is_builtin() else "-"
        yield f":{chain.name} {policy} [0:0]"
    for chain in chains:
        for rule in chain.rules:
            packets, size = rule.get_counters()
            yield f"[{packets}:{size}] -A {chain.name} {' '.join(_words(rule))}"
    yield "COMMIT"


def _words(rule: Any) -> Iterator[str]:
    for option, value in (("-s", _network(rule.src)), ("-d", _network(rule.dst))):
        if value.lstrip("!") not in _ANYWHERE:
            yield _option(option, value)
    for option, value in (("-i", rule.in_interface), ("-o", rule.out_interface)):
        if value:
            yield _option(option, value)
    if rule.protocol != _ANY_PROTOCOL:
        yield _option("-p", rule.protocol)
    for match in rule.matches:
        yield from (f"-m {match.name}", *_parameters(match))
    # Without a target the library gives one without a name.
    if rule.target and rule.target.name:
        yield from (
            f"-{'g' if rule.target.goto else 'j'} {rule.target.name}",
            *_parameters(rule.target),
        )


def _network(text: str) -> str:
    """Turn a netmask into a prefix length, as iptables-save has it."""
    negation = "!" if text.startswith("!") else ""
    try:
        return negation + str(ipaddress.ip_network(text.lstrip("!")))
    except ValueError:
        return text


def _option(option: str, value: str) -> str:
    return f"! {option} {value[1:]}" if value.startswith("!") else f"{option} {value}"


def _parameters(extension: Any) -> Iterator[str]:
    for name, values in extension.get_all_parameters().items():
        negation = ["!"] if "!" in values else []
        words = [value for value in values if value != "!"]
        if name == "comment":
            # The library takes back the escapes of double quotes and leaves those of single ones.
            words = [quote(word.replace("\\'", "'")) for word in words]
        yield " ".join([*negation, f"--{name}", *words])
