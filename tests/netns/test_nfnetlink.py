"""What is asked of nf_tables by netlink, against what nft says and does."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from interceptor.backends.step import ToolStep
from interceptor.names import Family
from interceptor.operations.install import removal
from interceptor.operations.site import Site
from interceptor.system.deadline import Deadline
from interceptor.system.nfnetlink import HeldTable, Remains, look, remove
from tests.lab.paths import IPTABLES_NFT, dump, interceptor
from tests.lab.paths import done_well as well

if TYPE_CHECKING:
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_OURS = """\
add table ip nat
add chain ip nat OUTPUT { type nat hook output priority -100; }
add chain ip nat INTERCEPTOR_RECORD
add rule ip nat INTERCEPTOR_RECORD return
"""
_REMAINS = Remains(Family.IP, "nat", ("INTERCEPTOR_RECORD",), ("OUTPUT",), whole=True)


def test_all_tables_and_chains_are_seen(pod: Pod) -> None:
    many = "".join(f"add chain inet theirs a-rather-long-chain-name-{n:04}\n" for n in range(900))
    pod.pod.run("nft", "-f", "-", stdin=f"{_OURS}add table inet theirs\n{many}add table arp x\n")
    with pod.pod:
        held = look()
    assert held.keys() == {(Family.IP, "nat"), (Family.INET, "theirs")}
    assert held[Family.IP, "nat"].chains == {"OUTPUT", "INTERCEPTOR_RECORD"}
    assert len(held[Family.INET, "theirs"].chains) == 900


def test_an_empty_namespace_has_none(pod: Pod) -> None:
    with pod.pod:
        assert look() == {}


def test_without_privilege_it_is_an_error_and_not_none() -> None:
    code = (
        "from interceptor.system.nfnetlink import look\n"
        "from interceptor.errors import HostError\n"
        "try:\n    look()\nexcept HostError as error:\n    print(error.message, error.hint)\n"
    )
    said = subprocess.run(
        [
            "/usr/bin/setpriv",
            "--bounding-set=-net_admin",
            "--inh-caps=-all",
            sys.executable,
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Operation not permitted" in said


def test_what_nobody_uses_goes(pod: Pod) -> None:
    pod.pod.run("nft", "-f", "-", stdin=_OURS)
    with pod.pod:
        remove(_REMAINS)
        remove(_REMAINS)
        assert look() == {}


@pytest.mark.parametrize(
    ("theirs", "left"),
    [
        ("add rule ip nat OUTPUT accept", {"OUTPUT"}),
        ("add chain ip nat THEIRS", {"OUTPUT", "THEIRS"}),
        ("add set ip nat theirs { type inet_service; }", {"OUTPUT"}),
        ("delete chain ip nat OUTPUT", set[str]()),
    ],
    ids=["rule", "chain", "set", "gone"],
)
def test_what_somebody_uses_stays(pod: Pod, theirs: str, left: set[str]) -> None:
    """Whatever came after the plan was made; only ours goes."""
    pod.pod.run("nft", "-f", "-", stdin=_OURS + theirs + "\n")
    with pod.pod:
        remove(_REMAINS)
        assert look() == {(Family.IP, "nat"): HeldTable(frozenset(left))}


def test_a_base_chain_made_in_somebodys_table_goes_again(pod: Pod) -> None:
    pod.pod.run("nft", "-f", "-", stdin="add table ip nat\nadd chain ip nat THEIRS\n")
    before = dump(pod.pod)
    well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    assert "OUTPUT" in dump(pod.pod)
    well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_a_base_chain_that_somebody_fills_meanwhile_stays(pod: Pod) -> None:
    pod.pod.run("nft", "-f", "-", stdin="add table ip nat\nadd chain ip nat THEIRS\n")
    well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run("iptables-nft", "-t", "nat", "-A", "OUTPUT", "-j", "THEIRS")
    well("uninstall", namespace=pod.pod)
    left = dump(pod.pod)
    assert "jump THEIRS" in left
    assert "PREROUTING {" not in left
    assert "INTERCEPTOR" not in left


def test_base_chains_go_although_somebody_uses_the_table_made_for_us(pod: Pod) -> None:
    well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    rule = ("-p", "udp", "-j", "ACCEPT")
    pod.pod.run("iptables-nft", "-t", "nat", "-A", "PREROUTING", *rule)
    well("uninstall", namespace=pod.pod)
    with pod.pod:
        assert look() == {(Family.IP, "nat"): HeldTable(frozenset({"PREROUTING"}))}


def test_a_record_may_name_only_what_iptables_makes(pod: Pod) -> None:
    """Whoever is root in a pod can write a record; it makes us remove nothing of others."""
    well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run("nft", "-f", "-", stdin="add table ip theirs\nadd table ip filter\n")
    made = "made=ip theirs,ip filter,inet theirs,ip nat THEIRS,,ip,ip nat OUTPUT x y,../../x"
    pod.pod.run(
        *("iptables-nft", "-t", "nat", "-A", "INTERCEPTOR_RECORD"),
        *("-m", "comment", "--comment", made, "-j", "RETURN"),
    )
    done = interceptor("uninstall", namespace=pod.pod)
    assert done.code == 0, done
    with pod.pod:
        assert (Family.IP, "theirs") in look()


def test_killed_between_rules_and_tables_the_next_run_goes_on(pod: Pod) -> None:
    """The record outlives the rules until all it names is gone."""
    before = dump(pod.pod)
    well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    with pod.pod:
        deadline = Deadline(9)
        for step in removal(Site(deadline), IPTABLES_NFT.name).steps():
            if isinstance(step, ToolStep):
                step.apply(deadline)
    left = dump(pod.pod)
    assert "INTERCEPTOR_RECORD" in left
    assert "REDIRECT" not in left
    assert interceptor("status", namespace=pod.pod).code == 3
    well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before
