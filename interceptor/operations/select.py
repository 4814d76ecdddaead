"""Which kernel language to use: a pure decision over what was asked for and what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.config import BackendChoice, VariantChoice
from interceptor.errors import HostError, InterceptorError
from interceptor.names import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY = "nftables", "iptables-nft", "iptables-legacy"
EBPF = "ebpf"


class Seen(msgspec.Struct, frozen=True):
    """What was seen of one kernel language in a namespace.

    ``error`` is why it cannot be used, ``holds_rules`` whether anybody's rules are in it and
    ``holds_ours`` whether ours are. ``hides`` is where rules of ours are, or may be, in a language
    that cannot be used: what is there can neither be compared nor removed.
    """

    error: InterceptorError | None = None
    holds_rules: bool = False
    holds_ours: bool = False
    hides: str = ""


def preferences(
    backend: BackendChoice, variant: VariantChoice, seen: Mapping[str, Seen]
) -> list[str]:
    """Name the backends to try, best first.

    What is asked for by name is the only one. Otherwise a language that holds our rules already
    comes first, so that running again never moves them; then nftables; then the iptables that
    holds somebody's rules, and last the other one, nf_tables before legacy.

    Raises:
        HostError: nothing that was asked for can be used here, and why.
    """
    candidates = _candidates(backend, variant)
    if backend is BackendChoice.AUTO and seen.get(EBPF, Seen()).holds_ours:
        # It is kept, and else only taken when it is asked for: it is the node's, not the pod's.
        candidates.append(EBPF)
    usable = [name for name in candidates if seen[name].error is None]
    if not usable:
        raise unusable(candidates, seen)

    def rank(name: str) -> tuple[bool, bool, bool]:
        return not seen[name].holds_ours, name != NFTABLES, not seen[name].holds_rules

    return sorted(usable, key=rank)


def _candidates(backend: BackendChoice, variant: VariantChoice) -> list[str]:
    iptables = {
        VariantChoice.NFT: [IPTABLES_NFT],
        VariantChoice.LEGACY: [IPTABLES_LEGACY],
        VariantChoice.AUTO: [IPTABLES_NFT, IPTABLES_LEGACY],
    }[variant]
    match backend:
        case BackendChoice.NFTABLES:
            return [NFTABLES]
        case BackendChoice.EBPF:
            return [EBPF]
        case BackendChoice.IPTABLES:
            return iptables
        case BackendChoice.AUTO:
            return [NFTABLES, *iptables]


def ipv6_or_warning(family: Family, *, can_hold: bool, in_kernel: bool) -> str:
    """Decide whether a language will do for the families that are wanted.

    Args:
        family: what is wanted.
        can_hold: whether the language can hold rules for IPv6 here.
        in_kernel: whether the kernel speaks IPv6 at all.

    Gives a warning where IPv6 is not wanted, is there, and could not be intercepted; or ``""``.

    Raises:
        HostError: it is wanted.
    """
    if can_hold:
        return ""
    missing = "no ip6tables here" if in_kernel else "the kernel has no IPv6"
    if Family.IP6 in family.members:
        raise HostError(
            f"IPv6 cannot be intercepted: {missing}",
            hint="enable IPv6 on this host, or say --ip-families ipv4",
        )
    # What the kernel does not speak nobody needs a warning of.
    return f"IPv6 is left alone and could not be intercepted: {missing}" if in_kernel else ""


def holders(seen: Mapping[str, Seen]) -> list[str]:
    """Name the languages that hold rules of ours.

    Raises:
        HostError: none could be looked at, so that "none" would be a guess.
    """
    found = [name for name, one in seen.items() if one.holds_ours]
    # Where no program was ever loaded there is nothing at sockets; that says nothing of rules.
    rules = [name for name in seen if name != EBPF]
    if not found and all(seen[name].error is not None for name in rules):
        raise unusable(rules, seen)
    return found


def hidden(seen: Mapping[str, Seen]) -> dict[str, HostError]:
    """Say of each language that may hold rules of ours out of sight where, and why."""
    return {
        name: HostError(
            f"{one.hides}, and cannot be looked at: {one.error.message}", hint=one.error.hint
        )
        for name, one in seen.items()
        if one.hides and one.error
    }


def unusable(names: list[str], seen: Mapping[str, Seen]) -> InterceptorError:
    """Make one error of the reasons why none of these can be used."""
    found = [seen[name].error for name in names]
    errors = [error for error in found if error is not None]
    reasons = "; ".join(dict.fromkeys(error.message for error in errors))
    if reasons == errors[0].message:
        return errors[0]
    return HostError(
        f"no kernel language for rules can be used here: {reasons}",
        hint="install nftables or iptables; interceptor check says more",
    )
