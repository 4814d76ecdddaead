"""Which kernel language to use: a pure decision over what was asked for and what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.config import BackendChoice, VariantChoice
from interceptor.errors import HostError, InterceptorError

if TYPE_CHECKING:
    from collections.abc import Mapping

NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY = "nftables", "iptables-nft", "iptables-legacy"


class Seen(msgspec.Struct, frozen=True):
    """What was seen of one kernel language in a namespace.

    ``error`` is why it cannot be used, ``holds_rules`` whether anybody's rules are in it and
    ``holds_ours`` whether ours are.
    """

    error: InterceptorError | None = None
    holds_rules: bool = False
    holds_ours: bool = False


def choose(backend: BackendChoice, variant: VariantChoice, seen: Mapping[str, Seen]) -> str:
    """Choose a backend by name.

    What is asked for by name is used or is an error. Otherwise a language that holds our rules
    already is kept, so that running again never moves them; then nftables if it works; then the
    iptables that holds somebody's rules, and last the one that works, nf_tables first.

    Raises:
        HostError: what was asked for cannot be used here, and why.
    """
    candidates = _candidates(backend, variant)
    usable = [name for name in candidates if seen[name].error is None]
    if not usable:
        raise _unusable(candidates, seen)
    for name in usable:
        if seen[name].holds_ours:
            return name
    if usable[0] == NFTABLES:
        return NFTABLES
    return next((name for name in usable if seen[name].holds_rules), usable[0])


def _candidates(backend: BackendChoice, variant: VariantChoice) -> list[str]:
    iptables = {
        VariantChoice.NFT: [IPTABLES_NFT],
        VariantChoice.LEGACY: [IPTABLES_LEGACY],
        VariantChoice.AUTO: [IPTABLES_NFT, IPTABLES_LEGACY],
    }[variant]
    match backend:
        case BackendChoice.NFTABLES:
            return [NFTABLES]
        case BackendChoice.IPTABLES:
            return iptables
        case BackendChoice.AUTO:
            return [NFTABLES, *iptables]


def holders(seen: Mapping[str, Seen]) -> list[str]:
    """Name the languages that hold rules of ours.

    Raises:
        HostError: none could be looked at, so that "none" would be a guess.
    """
    if all(one.error is not None for one in seen.values()):
        raise _unusable(list(seen), seen)
    return [name for name, one in seen.items() if one.holds_ours]


def _unusable(candidates: list[str], seen: Mapping[str, Seen]) -> InterceptorError:
    found = [seen[name].error for name in candidates]
    errors = [error for error in found if error is not None]
    reasons = "; ".join(dict.fromkeys(error.message for error in errors))
    if reasons == errors[0].message:
        return errors[0]
    return HostError(
        f"no kernel language for rules can be used here: {reasons}",
        hint="install nftables or iptables; interceptor check says more",
    )
