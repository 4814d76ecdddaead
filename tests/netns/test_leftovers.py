"""What an older sheet left, whole or half, without a record, is found by its names and removed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.cases import GOLDENS, RESOLV_CONF, flags
from tests.lab.netns import namespaces
from tests.lab.paths import RULE_PATHS, RulePath, by_chain, done_well, dump, interceptor

if TYPE_CHECKING:
    from tests.lab.netns import Namespace
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_CASES = ("tproxy-other", "dns-resolv-conf", "default", "excluded")
_FOREIGN = "*nat\n:THEIRS - [0:0]\n-A OUTPUT -p tcp --dport 5 -j THEIRS\nCOMMIT\n"


def older(text: str) -> str:
    """Name chains as a sheet of another version might."""
    return text.replace("INTERCEPTOR_INBOUND", "INTERCEPTOR_V0_IN").replace(
        "interceptor-inbound", "interceptor-v0-in"
    )


def leave(namespace: Namespace, path: RulePath, case: str, tables: int | None) -> None:
    """Put an older installation there: whole, or so many tables of one family."""
    if path.name == "nftables":
        text = older((GOLDENS / f"{case}.nft").read_text())
        # Half of a transaction there is not; a table without its base chains there may be.
        if tables is not None:
            text = re.sub(r"type \w+ hook .*", "", text)
        namespace.run("nft", "-f", "-", stdin=text)
        return
    variant = path.name.removeprefix("iptables-")
    for family, tool in (("ip", "iptables"), ("ip6", "ip6tables")):
        parts = older((GOLDENS / f"{case}.{family}").read_text()).split("COMMIT\n")[:-1]
        text = "".join(f"{part}COMMIT\n" for part in parts[:tables])
        namespace.run(f"{tool}-{variant}-restore", "--noflush", stdin=text)
        if tables is not None:
            return


def without_empty_tables(dumped: str) -> list[str]:
    """Leave out tables and built-in chains of iptables-nft in which nothing is."""
    text = re.sub(r"\tchain [A-Z]+ \{\n\t\ttype [^\n]*\n\t\}\n+", "", dumped)
    return by_chain(re.sub(r"table ip6? \w+ \{\n\}\n", "", text))


@pytest.mark.parametrize("tables", [None, 1, 2], ids=["whole", "one table", "two tables"])
@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_uninstall_finds_an_older_installation(
    path: RulePath, case: str, tables: int | None
) -> None:
    with namespaces("older") as (namespace,):
        if path.name != "nftables":
            variant = path.name.removeprefix("iptables-")
            for tool in ("iptables", "ip6tables"):
                namespace.run(f"{tool}-{variant}-restore", "--noflush", stdin=_FOREIGN)
        before = without_empty_tables(dump(namespace))
        leave(namespace, path, case, tables)
        assert without_empty_tables(dump(namespace)) != before
        done_well("uninstall", namespace=namespace)
        assert without_empty_tables(dump(namespace)) == before
        assert interceptor("status", namespace=namespace).stdout.startswith("absent")


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_install_goes_on_from_half_of_an_older_one(path: RulePath, case: str) -> None:
    with namespaces("fresh", "older") as (fresh, namespace):
        for one in (fresh, namespace):
            one.resolv_conf(RESOLV_CONF)
        leave(namespace, path, case, 1)
        install = ("install", *path.flags, *flags(case), "--ip-families", "dual")
        done_well(*install, namespace=namespace)
        done_well(*install, namespace=fresh)
        assert done_well("status", namespace=namespace).stdout.startswith("in-sync")
        # What was made for the older one nobody wrote down, so it stays.
        strip = re.compile("made=.*")
        found, meant = (strip.sub("", dump(one)) for one in (namespace, fresh))
        assert without_empty_tables(found) == without_empty_tables(meant)


def test_uninstall_wants_nothing_of_the_policy(pod: Pod) -> None:
    """The environment may name a sheet that is gone, or what only another version knows."""
    done_well("install", namespace=pod.pod)
    gone = {"INTERCEPTOR_SHEET": "/no/such.toml", "INTERCEPTOR_MODE": "no such"}
    done = interceptor("uninstall", namespace=pod.pod, environment=gone)
    assert done.code == 0, done
    assert "interceptor" not in dump(pod.pod)
