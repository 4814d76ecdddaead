"""What a kernel tool's complaint means and what to do about it.

The sentences are those of iptables 1.6 to 1.8 and nft 0.9 to 1.1; what is not known here is
passed on in the tool's own words.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from interceptor.errors import CommandError, HostError, InterceptorError
from interceptor.system import host
from interceptor.system.command import lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.system.command import Outcome

_NO_PRIVILEGE = re.compile(r"Permission denied|Operation not permitted|you must be root")
_NO_TABLE = re.compile(
    r"can't initialize ip6?tables table|unable to initialize table|Table does not exist|"
    r"Could not fetch rule set generation id|Protocol not supported|"
    r"Address family not supported"
)
_NO_EXTENSION = re.compile(r"Couldn't load (?:match|target) [`'](\w+)'")
_NO_FEATURE = re.compile(
    r"No chain/target/match by that name|No such file or directory|Operation not supported|"
    r"Invalid argument"
)
_LINE = re.compile(r"\bline:? (\d+)|^[^:\n]*:(\d+):\d+", re.IGNORECASE | re.MULTILINE)


def explain(argv: Sequence[str], stdin: str, outcome: Outcome) -> InterceptorError:
    """Make the error for a tool that failed, naming the rule it stumbled over if it said so."""
    tool = os.path.basename(argv[0])
    said = outcome.stderr
    first = next(lines(outcome), f"it ended with {outcome.returncode} and said nothing")
    legacy = "legacy" in tool
    # iptables-legacy talks to the kernel by a raw socket, and does not say when it gets none.
    if _NO_PRIVILEGE.search(said) or (legacy and not host.has_capability(host.CAP_NET_RAW)):
        return HostError(
            f"{tool} may not change this network namespace: {first}",
            hint="run as root, or give the container the NET_ADMIN capability"
            + (" and NET_RAW" if legacy else ""),
        )
    if extension := _NO_EXTENSION.search(said):
        return HostError(
            f"{tool} has no extension {extension[1]!r}",
            hint=f"install a complete iptables: lib(ip)t_{extension[1]}.so is missing",
        )
    if _NO_TABLE.search(said):
        return HostError(
            f"the kernel lacks what {tool} needs: {first}",
            hint="load the netfilter NAT modules on the node, or try another --backend or "
            "--iptables-variant; interceptor check tries them all",
        )
    rule = _rule_at(said, stdin)
    names_ids = "-owner" in (stdin if rule == "COMMIT" else rule)
    if names_ids and not host.maps_all_ids():
        return HostError(
            f"{tool} failed: this user namespace does not know every user and group of the rules",
            hint="choose ids that /proc/self/uid_map and gid_map know, or install from the node",
        )
    if rule and _NO_FEATURE.search(said):
        return HostError(
            f"the kernel lacks a feature for this rule: {rule}",
            hint="load its netfilter module on the node, or try another --backend; "
            "interceptor check tries them all",
        )
    return CommandError(
        f"{tool} failed: {first}" + (f" at: {rule}" if rule else ""),
        hint="nothing of ours was changed; see interceptor check",
    )


def _rule_at(said: str, stdin: str) -> str:
    """Give the line of the input that the tool names, if it does."""
    found = _LINE.search(said)
    if found is None:
        return ""
    number = int(found[1] or found[2])
    text = stdin.splitlines()
    return text[number - 1].strip() if 0 < number <= len(text) else ""
