"""Every golden text is printed back by the kernel tools; every configuration comes and goes."""

from __future__ import annotations

import pytest

from tests.lab.cases import CASES, GOLDENS, RESOLV_CONF, flags
from tests.lab.netns import namespaces
from tests.lab.paths import RULE_PATHS, RulePath, done_well, dump

pytestmark = pytest.mark.root


@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize("case", CASES)
def test_iptables_prints_back_what_it_was_given(case: str, variant: str) -> None:
    with namespaces("golden") as (namespace,):
        for language, tool in (("ip", "iptables"), ("ip6", "ip6tables")):
            text = (GOLDENS / f"{case}.{language}").read_text()
            if not text:
                continue
            namespace.run(f"{tool}-{variant}-restore", stdin=text)
            saved = namespace.run(f"{tool}-{variant}-save")
            assert _rules_by_chain(saved) == _rules_by_chain(text)


def _rules_by_chain(text: str) -> list[str]:
    """Give the rules in order within their chains, tables and chains by name: tools differ."""
    rules, table = [], ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            rules.append((table, line))
    ordered = sorted(rules, key=lambda rule: (rule[0], rule[1].split()[1]))
    return [f"{table} {line}" for table, line in ordered]


@pytest.mark.parametrize("case", CASES)
def test_nft_takes_it(case: str) -> None:
    with namespaces("golden") as (namespace,):
        namespace.run("nft", "-f", "-", stdin=(GOLDENS / f"{case}.nft").read_text())


@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_it_is_installed_twice_and_removed_without_residue(case: str, path: RulePath) -> None:
    families = () if "ip_families" in CASES[case] else ("--ip-families", "dual")
    with namespaces("golden") as (namespace,):
        namespace.resolv_conf(RESOLV_CONF)
        before = dump(namespace)
        install = ("install", *path.flags, *flags(case), *families, "--output", "json")
        assert done_well(*install, namespace=namespace).json["changed"]
        assert not done_well(*install, namespace=namespace).json["changed"]
        done_well("status", namespace=namespace)
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before
