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
_ALL = ("--mode", "tproxy", "--capture-dns", "all")


def clear_rules(namespace: Namespace) -> None:
    """Remove all rules."""
    namespace.run("nft", "flush", "ruleset")
    for family, tool in (("ip", "iptables-legacy"), ("ip6", "ip6tables-legacy")):
        tables = namespace.run("cat", f"/proc/net/{family}_tables_names").split()
        text = "".join(f"*{table}\nCOMMIT\n" for table in tables)
        namespace.run(f"{tool}-restore", stdin=text)


def _clear(namespace: Namespace) -> Callable[[], object]:
    """Make a run that removes what either contender left."""

    def clear() -> None:
        clear_rules(namespace)
        # What is beside rules.
        done_well("uninstall", namespace=namespace)

    return clear


def bare_tool(
    path: RulePath, namespace: Namespace, flags: tuple[str, ...]
) -> Callable[[], object]:
    """Make a run of the bare tools with the text that install loads."""
    inside = ("ip", "netns", "exec", namespace.name)
    if path is NFTABLES:
        text = done_well("render", "--backend", "nftables", *flags).stdout
        return command(*inside, "nft", "-f", "-", stdin=text)
    variant = path.name.removeprefix("iptables-")
    runs = []
    for family, tool in (("ip", "iptables"), ("ip6", "ip6tables")):
        text = done_well("render", "--backend", "iptables", "--family", family, *flags).stdout
        runs.append(command(*inside, f"{tool}-{variant}-restore", "--noflush", stdin=text))
    return lambda: [run() for run in runs]


def bench(rounds: int) -> None:
    """Print install's wall time on each rule path, for the defaults and for all there is."""
    _bench("both families", _DUAL, rounds)
    _bench("both families, TPROXY and DNS", (*_DUAL, *_ALL), rounds)


def _bench(what: str, flags: tuple[str, ...], rounds: int) -> None:
    for path in (NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY):
        with namespaces("bench") as (namespace,):
            install = command(PROGRAM, "install", "--netns", namespace.path, *path.flags, *flags)
            bare = "bare nft -f" if path is NFTABLES else "bare iptables-restore, twice"
            clear = _clear(namespace)
            install_first = lambda clear=clear, install=install: (clear(), install())  # noqa: E731
            times = race(
                [
                    Contender(bare, bare_tool(path, namespace, flags), clear),
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
            show(f"{path}, {what}", times, beside=bare)


def bench_many_networks(rounds: int) -> None:
    """Print the wall time of installing ten thousand exclusions."""
    config = many_networks()
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


def many_networks() -> str:
    """Give a configuration with ten thousand exclusions."""
    networks = ",".join(f"10.{n >> 8}.{n & 255}.{n % 251}/32" for n in range(10_000))
    return f'exclude_outbound_cidrs = "{networks}"\n'


def _rendered(config: str) -> str:
    from tests.lab.paths import interceptor

    return interceptor("render", "--config", "-", *_DUAL, stdin=config).stdout
