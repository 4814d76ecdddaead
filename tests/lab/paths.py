"""The rule paths: each backend, with the flags that choose it and the tools that list it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.lab.netns import Namespace

PROGRAM = str(Path(sys.executable).with_name("interceptor"))
COMMAND_TIMEOUT = "COMMAND_TIMEOUT_S"
"""Variable: the program's ``--timeout`` where a test does not say one, for slow machines."""


class RulePath(NamedTuple):
    """One backend."""

    name: str
    flags: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


NFTABLES = RulePath("nftables", ("--backend", "nftables"))
IPTABLES_NFT = RulePath("iptables-nft", ("--backend", "iptables", "--iptables-variant", "nft"))
IPTABLES_LEGACY = RulePath(
    "iptables-legacy", ("--backend", "iptables", "--iptables-variant", "legacy")
)
RULE_PATHS = (NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY)
EBPF = RulePath("ebpf", ("--backend", "ebpf"))
"""No rules: programs at sockets."""


class Done(NamedTuple):
    """What a run of the program left."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.stdout))


def interceptor(
    *arguments: str,
    namespace: Namespace | None = None,
    stdin: str = "",
    environment: dict[str, str] | None = None,
    prefix: tuple[str, ...] = (),
    program: tuple[str, ...] = (PROGRAM,),
) -> Done:
    """Run the installed program, by ``--netns`` in a namespace if one is given."""
    place = ("--netns", namespace.path) if namespace else ()
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(environment or {})}
    if COMMAND_TIMEOUT in os.environ:
        env.setdefault("INTERCEPTOR_TIMEOUT", os.environ[COMMAND_TIMEOUT])
    done = subprocess.run(
        [*prefix, *program, *arguments, *place],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=env,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def done_well(*arguments: str, namespace: Namespace | None = None) -> Done:
    """Run the program and expect exit code 0."""
    done = interceptor(*arguments, namespace=namespace)
    assert done.code == 0, done
    return done


def dump(namespace: Namespace) -> str:
    """Give every rule and chain in a namespace, in all languages, and how it routes.

    Counters and dates are left out.

    Tables of iptables-legacy that hold nothing are left out: the kernel makes them when they
    are first used and keeps them until the namespace ends.
    """
    parts = [namespace.run("nft", "--stateless", "list", "ruleset")]
    for tool in ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"):
        for table in namespace.run(f"{tool}-save").split("COMMIT\n"):
            lines = [line.partition(" [")[0] for line in table.splitlines() if line[:1] != "#"]
            policies = [line for line in lines if line.startswith(":")]
            if any(line.startswith("-A") for line in lines) or any(
                not line.endswith(" ACCEPT") for line in policies
            ):
                parts.append("\n".join([tool, *lines]))
    parts.append("table of routes")
    for family in ("-4", "-6"):
        for what in (
            ("rule",),
            ("route", "show", "table", "all"),
            ("address", "show", "dev", "lo"),
        ):
            lines = namespace.run("ip", family, *what).splitlines()
            # Of itself the kernel makes these, when an interface has been up for a while.
            late = ("fe80:", "multicast", "table local proto kernel")
            parts += [line for line in lines if not any(word in line for word in late)]
    return "\n".join(parts)


def by_chain(dumped: str) -> list[str]:
    """Give a dump's chains in the order of their names, each with its rules in their order.

    Kernels list chains in the order they were made; what a chain means does not depend on it.
    """
    lines = [line for line in dumped.splitlines() if line.strip() not in ("", "}")]
    parts = re.split(r"\n(?=\tchain |-A |:|\*|table )", "\n".join(lines))
    return sorted(parts, key=lambda part: part.split("\n", 1)[0].split(" ")[:2])
