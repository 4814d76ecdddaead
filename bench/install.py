"""install and uninstall, beside the bare kernel tool loading the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.timing import Contender, command, race, show
from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    PROGRAM,
    RulePath,
    done_well,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_DUAL = ("--ip-families", "dual")


def _clear(namespace: Namespace) -> Callable[[], object]:
    """Make a run that removes what either contender left."""

    def clear() -> None:
        namespace.run("nft", "flush", "ruleset")
        for tool in ("iptables-legacy", "ip6tables-legacy"):
            namespace.run(f"{tool}-restore", stdin="*nat\nCOMMIT\n")

    return clear


def _bare(path: RulePath, namespace: Namespace) -> Callable[[], object]:
    """Make a run of the bare tools with the text that install loads."""
    inside = ("ip", "netns", "exec", namespace.name)
    if path is NFTABLES:
        text = done_well("render", "--backend", "nftables", *_DUAL).stdout
        return command(*inside, "nft", "-f", "-", stdin=text)
    variant = path.name.removeprefix("iptables-")
    runs = []
    for family, tool in (("ip", "iptables"), ("ip6", "ip6tables")):
        text = done_well("render", "--backend", "iptables", "--family", family, *_DUAL).stdout
        runs.append(command(*inside, f"{tool}-{variant}-restore", "--noflush", stdin=text))
    return lambda: [run() for run in runs]


def bench(rounds: int) -> None:
    """Print install's wall time on each rule path."""
    for path in (NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY):
        with namespaces("bench") as (namespace,):
            install = command(PROGRAM, "install", "--netns", namespace.path, *path.flags, *_DUAL)
            bare = "bare nft -f" if path is NFTABLES else "bare iptables-restore, twice"
            clear = _clear(namespace)
            install_first = lambda clear=clear, install=install: (clear(), install())  # noqa: E731
            times = race(
                [
                    Contender(bare, _bare(path, namespace), clear),
                    Contender("install", install, clear),
                    Contender("install again, nothing to do", install),
                    Contender(
                        "uninstall",
                        command(PROGRAM, "uninstall", "--netns", namespace.path),
                        install_first,
                    ),
                ],
                rounds,
            )
            show(f"{path}, both families", times, beside=bare)


def bench_many_networks(rounds: int) -> None:
    """Print the wall time of installing ten thousand exclusions."""
    networks = ",".join(f"10.{n >> 8}.{n & 255}.{n % 251}/32" for n in range(10_000))
    config = f'exclude_outbound_cidrs = "{networks}"\n'
    with namespaces("bench") as (namespace,):
        inside = ("ip", "netns", "exec", namespace.name)
        text = _rendered(config)
        clear = _clear(namespace)
        times = race(
            [
                Contender("bare nft -f", command(*inside, "nft", "-f", "-", stdin=text), clear),
                Contender(
                    "install",
                    command(
                        *(PROGRAM, "install", "--netns", namespace.path, "--config", "-"),
                        *(*NFTABLES.flags, *_DUAL),
                        stdin=config,
                    ),
                    clear,
                ),
            ],
            rounds,
        )
        show("nftables, 10,000 networks excluded", times, beside="bare nft -f")


def _rendered(config: str) -> str:
    from tests.lab.paths import interceptor

    return interceptor("render", "--config", "-", *_DUAL, stdin=config).stdout
