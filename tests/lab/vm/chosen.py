"""Which tests run on other kernels, and why these: docs/vm.md says it for people.

Emulated, a test takes ten to twenty times as long. A kernel's version decides what rules and
programs are accepted, what they do to packets, and what the kernel tells of them afterwards; so
each of these is done once on each backend, what does not depend on the backend on one of them, and
what is decided without the kernel is left out.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.vm.image import PROJECT
from tests.lab.vm.record import runs_ebpf

if TYPE_CHECKING:
    from collections.abc import Sequence


class Part(NamedTuple):
    """Some tests of a file: of a function all, or those of these parameters."""

    function: str
    why: str
    parameters: tuple[str, ...] = ()
    at_sockets: bool = False
    """Only where there are programs at sockets."""


_RULE_PATHS = ("nftables", "iptables-nft", "iptables-legacy")
_FATES = "test_fates.py::test_every_connection_meets_its_fate"
_INSTALL = "tests/netns/test_install.py::"
_KERNELS = "tests/netns/test_kernels.py::"
# Nearly all of the connections of the default are among those of these too.
_ONCE_EACH = ("tproxy", "all-DNS", "virtual-interfaces")

CHOSEN = (
    Part(
        f"tests/contract/{_FATES}",
        "real connections: REDIRECT, TPROXY, DNS with zones, forwarding, owners",
        tuple(f"{path}-{name}" for path in _RULE_PATHS for name in _ONCE_EACH),
    ),
    Part(
        f"tests/ebpf/{_FATES}",
        "the same connections, decided at sockets",
        ("all DNS", "excluded networks"),
        at_sockets=True,
    ),
    Part(
        "tests/netns/test_everything.py::test_it_is_installed_known_again_and_removed",
        "every match and action a sheet can have, in one, beside a foreign rule",
    ),
    Part(
        f"{_INSTALL}test_foreign_rules_survive_byte_for_byte",
        "others' rules in tables of legacy, which the kernel takes and gives as a whole",
        ("iptables-legacy",),
    ),
    Part(
        f"{_INSTALL}test_another_backend_takes_over_and_leaves_nothing",
        "tables of one language go while those of another are there",
        ("nftables-iptables-legacy", "iptables-legacy-iptables-nft", "iptables-nft-nftables"),
    ),
    Part(
        f"{_INSTALL}test_many_networks_are_one_lookup",
        "sets of intervals; more of them are no other kind",
        ("nftables-hundreds",),
    ),
    Part(
        "tests/netns/test_status.py::test_sabotage_is_named_and_mended",
        "drift is seen in what the kernel lists",
        tuple(f"deletes-a-rule-{path}" for path in _RULE_PATHS),
    ),
    # Routes and addresses do not depend on the rule path, so each of these is on another.
    Part(
        "tests/netns/test_routing.py::test_status_names_what_is_missing_and_install_mends_it",
        "policy routes, and the address on lo, whose owner old kernels do not keep",
        ("iptables-nft-missing-address",),
    ),
    Part(
        f"{_KERNELS}test_the_address_on_lo_goes_again",
        "who put it there, in either way of kernels",
        ("nftables",),
    ),
    Part(
        f"{_KERNELS}test_somebody_elses_address_stays",
        "likewise of somebody else's",
        ("iptables-nft",),
    ),
    Part(f"{_KERNELS}test_an_address_marked_on_an_older_kernel_is_ours", "of an older kernel's"),
    Part(
        "tests/netns/test_routing.py::test_what_somebody_else_made_serves_and_stays",
        "numbers of makers of rules and routes",
    ),
    # What verify asks of the kernel does not depend on the rule path either.
    Part(
        "tests/netns/test_verify.py::test_all_is_well", "verify's own probes", ("iptables-legacy",)
    ),
    Part(
        "tests/netns/test_verify_tproxy.py::test_all_is_well",
        "and its transparent sockets",
        ("nftables",),
    ),
    Part("tests/netns/test_nfnetlink.py::test_all_tables_and_chains_are_seen", "nf_tables asked"),
    Part("tests/netns/test_trace.py::test_killed_it_leaves_nothing", "nftrace", ("iptables-nft",)),
    Part(
        f"{_KERNELS}test_programs_at_sockets_or_why_not",
        "the backend that depends on the version is there, or refused by its name",
    ),
    Part(
        "tests/netns/test_init_container.py::test_install_and_uninstall_with_nothing_to_spare",
        "few capabilities and a read-only root, where most is asked for; executed for real",
        ("iptables-legacy",),
    ),
    Part(
        "tests/netns/test_ebpf_command.py::test_status_counts_what_decided",
        "the programs pass this kernel's verifier, act and count",
        at_sockets=True,
    ),
    Part(
        "tests/ebpf/test_sockets.py::test_a_query_is_answered_by_whom_it_asked",
        "helpers of each kind of program",
        at_sockets=True,
    ),
    Part(
        "tests/ebpf/test_sockets.py::test_data_in_the_first_packet",
        "what is known before the kernel chose a port",
        at_sockets=True,
    ),
    Part("tests/ebpf/test_lifecycle.py::test_nothing_is_left", "links and pins", at_sockets=True),
    Part(
        "tests/ebpf/test_lifecycle.py::test_replaced_without_a_moment_of_neither",
        "a policy is replaced while it decides",
        at_sockets=True,
    ),
    Part(
        "tests/netns/test_verify_ebpf.py::test_all_is_as_with_rules",
        "verify at sockets, and the same connections with rules of nftables",
        at_sockets=True,
    ),
)
_ALL = ("tests/netns", "tests/contract", "tests/ebpf")
_TEST_S = 200
"""Several machines share this one's processors, and are emulated."""
_BUSY = 4
"""Patience where nobody chose how much: others may work on the host as well."""
_NOT_INSIDE = ("envoy", "bcc", "podman", "containerd")
"""Of those that would run: what needs programs the system inside does not have."""


def ids(*, at_sockets: bool) -> list[str]:
    """Give what pytest is to run."""
    found: list[str] = []
    for part in CHOSEN:
        if at_sockets or not part.at_sockets:
            found += [f"{part.function}[{one}]" for one in part.parameters] or [part.function]
    return found


_PROCESSES = ("--processes", "3")
"""One more than a machine has processors: tests wait half of their time."""
_PATIENT = ("--command-timeout", "90")
"""The program's own limit is for hosts that are not emulated."""


def arguments(
    release: str, *, everything: bool, only: Sequence[str] = (), patience: float = 1
) -> list[str]:
    """Give pytest's arguments on a kernel, one a line; ``patience`` times the usual time.

    Of all tests commands are real executions; of the core, where each counts, forks.
    """
    forked = () if everything else ("--forked",)
    chosen = _selected(release, everything=everything, only=only, patience=patience)
    return [*_PROCESSES, *_PATIENT, *forked, *chosen]


def _selected(
    release: str, *, everything: bool, only: Sequence[str] = (), patience: float = 1
) -> list[str]:
    able = runs_ebpf(release)
    barred = [*_NOT_INSIDE, *([] if able else ["ebpf"])]
    tests = list(only) or (list(_ALL) if everything else ids(at_sockets=able))
    return [
        *("-q", "--no-skips", "--timeout", f"{_TEST_S * patience:.0f}"),
        *("-k", " and ".join(f"not {word}" for word in barred)),
        *tests,
    ]


def compile_here(only: Sequence[str] = ()) -> None:
    """Have pytest write its compiled tests, which takes long where it is emulated.

    Raises:
        subprocess.CalledProcessError: a test that is chosen is not there.
    """
    plugins = ("-p", "tests.lab.vm.report", "-p", "tests.lab.vm.processes")
    argv = [sys.executable, "-m", "pytest", *plugins, "-p", "no:cacheprovider"]
    tests = list(only) or ids(at_sockets=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["VM_REPORT"] = os.devnull
    subprocess.run(
        [*argv, "--collect-only", "-q", *tests],
        check=True,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        env=environment,
    )


def main() -> None:
    """Print pytest's arguments on this kernel: for machines that people bring up.

    ``--emulated`` is for ``pytest -p tests.lab.vm.processes``, on a host that is busy.
    """
    release = platform.release()
    if "--emulated" in sys.argv[1:]:
        print("\n".join(arguments(release, everything=False, patience=_BUSY)))
    else:
        print("\n".join(["-n", "4", *_selected(release, everything=False)]))


if __name__ == "__main__":
    main()
