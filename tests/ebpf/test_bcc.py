"""The other loader: bcc compiles the same source, and nobody can tell which of the two did."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.backends.ebpf import programs
from interceptor.errors import HostError
from interceptor.system import bcc
from interceptor.system.cookie import cookie
from interceptor.system.libbpf import CGROUP_KINDS
from tests.contract.test_fates import CONFIGURATIONS, DNS, INBOUND, OUTBOUND, _fate, world
from tests.lab.ebpf import Lab, config_for, lab_machine
from tests.lab.pod import FAR, POD, PROXY_UID, Pod, new_pod
from tests.lab.traffic import connect, endpoint, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.ebpf.programs import Loader

pytestmark = pytest.mark.root
__all__ = ["world"]

_CHECKOUT = Path(__file__).parent.parent.parent
_TOLD_APART = ("default", "excluded ports", "included networks", "by mark alone", "all DNS")
_SWITCH = """
import sys
from tests.lab.ebpf import Lab
for loader in ("bcc", "libbpf") * 2:
    with Lab.at(sys.argv[1], loader) as machine:
        machine.load()
    print(loader, flush=True)
"""
_NEVER_IMPORTED = """
import os, sys
from interceptor.backends.ebpf import programs
from tests.lab.ebpf import Lab
with Lab.at(sys.argv[1], "libbpf") as machine:
    machine.load()
assert "bcc" not in sys.modules
with Lab.at(sys.argv[1], "bcc") as machine:
    machine.held()
    machine.counts()
    machine.collect()
assert "bcc" not in sys.modules and programs.Compiled().digest()
with Lab.at(sys.argv[1], "bcc") as machine:
    machine.load()
assert sys.modules["bcc"].BPF
"""


@pytest.fixture
def by_bcc() -> Iterator[Lab]:
    with lab_machine("bcc") as made:
        yield made


@pytest.fixture(scope="module")
def lab(world: Pod) -> Iterator[Lab]:
    with lab_machine("bcc") as made:
        # Routes and addresses are another backend's: what the proxy hands IPv6 over from.
        world.pod.address("lo", "::6/128")
        yield made


def _loader(machine: Lab) -> Loader:
    """Tell whose programs are attached."""
    found = machine.state().digest
    return next(one for one in ("bcc", "libbpf") if programs.programs(one).digest() == found)


@pytest.mark.parametrize("name", sorted({*_TOLD_APART} & {*CONFIGURATIONS}))
def test_every_connection_meets_its_fate(world: Pod, lab: Lab, name: str) -> None:
    flags, cases = CONFIGURATIONS[name]
    lab.put(world.pod, *flags)
    assert _loader(lab) == "bcc"
    ports = {"proxy IN": INBOUND, "proxy OUT": OUTBOUND, "proxy DNS": DNS}
    wrong = [
        f"{case.what} (IPv{version}): {found}, not {case.expect}"
        for case in cases
        for version in case.to
        if (found := _fate(world, case, version, ports)) != case.expect
    ]
    assert not wrong, "\n".join(wrong)


def test_it_leaves_what_the_other_leaves(pod: Pod, by_bcc: Lab, machine: Lab) -> None:
    for one in (by_bcc, machine):
        assert one.put(pod.pod, "--exclude-outbound-ports", "81").changed
        assert not one.put(pod.pod, "--exclude-outbound-ports", "81").changed
    assert by_bcc.attached() == machine.attached() == tuple(sorted(CGROUP_KINDS))
    assert by_bcc.held() == machine.held()
    assert by_bcc.counts() == machine.counts()
    for path, _, names in os.walk(machine.root):
        assert sorted(os.listdir(path.replace(machine.root, by_bcc.root))) == sorted(
            [*names, *[d.name for d in Path(path).iterdir() if d.is_dir()]]
        )
    assert machine.drop(pod.pod)
    assert by_bcc.drop(pod.pod)
    assert not by_bcc.drop(pod.pod)
    assert by_bcc.held() == {}
    assert by_bcc.unload()
    assert not os.path.exists(by_bcc.root)


@pytest.mark.parametrize("number", [4, 6])
def test_the_proxy_learns_the_destination(pod: Pod, by_bcc: Lab, number: int) -> None:
    by_bcc.put(pod.pod)
    with recorder(pod.pod, 15001, 15006), recorder(pod.outside, 80):
        answer = connect(pod.pod, FAR[number], 80)
        assert (answer["port"], answer["original"]) == (15001, endpoint(FAR[number], 80))
        answer = connect(pod.client, POD[number], 8080)
        assert (answer["port"], answer["original"]) == (15006, endpoint(POD[number], 8080))
        assert connect(pod.pod, FAR[number], 80, uid=PROXY_UID)["who"] == "outside"
    refused = {"error": "ConnectionRefusedError"}
    assert connect(pod.client, POD[number], 8080) == refused
    assert connect(pod.pod, FAR[number], 80) == refused
    assert becomes(lambda: by_bcc.map("pending").keys() == [])


def test_two_pods_with_the_same_addresses(pod: Pod, by_bcc: Lab) -> None:
    with new_pod() as other, recorder(pod.pod, 15006, 8080), recorder(other.pod, 8080):
        by_bcc.put(pod.pod)
        by_bcc.put(other.pod)
        assert connect(pod.client, POD[4], 8080)["port"] == 15006
        assert connect(other.client, POD[4], 8080) == {"error": "ConnectionRefusedError"}
        by_bcc.drop(other.pod)
        assert connect(other.client, POD[4], 8080)["port"] == 8080
        assert connect(pod.client, POD[4], 8080)["port"] == 15006


def test_one_takes_the_others_place_without_a_moment_of_neither(pod: Pod, machine: Lab) -> None:
    machine.put(pod.pod)
    config = config_for(pod.pod)
    met = 0
    with (
        recorder(pod.pod, 15001, 15006, 8080),
        recorder(pod.outside, 80),
        subprocess.Popen(
            [sys.executable, "-c", _SWITCH, machine.pin_root],
            stdout=subprocess.PIPE,
            cwd=_CHECKOUT,
        ) as switch,
    ):
        try:
            while switch.poll() is None:
                answer = connect(pod.pod, FAR[4], 80)
                assert (answer["port"], answer["original"]) == (15001, endpoint(FAR[4], 80))
                answer = connect(pod.client, POD[6], 8080)
                assert (answer["port"], answer["original"]) == (15006, endpoint(POD[6], 8080))
                met += 2
            assert switch.stdout is not None
            assert switch.stdout.read().split() == [b"bcc", b"libbpf"] * 2
        finally:
            switch.kill()
    assert met > 100
    assert machine.held()[cookie(pod.pod._descriptor)].config == config


def test_bcc_is_imported_when_something_is_compiled_and_not_before(machine: Lab) -> None:
    argv = [sys.executable, "-c", _NEVER_IMPORTED, machine.pin_root]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=_CHECKOUT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_source_that_was_changed(
    pod: Pod, by_bcc: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "bpf"
    shutil.copytree(programs.source(), changed)
    monkeypatch.setattr(programs, "source", lambda: str(changed))
    header = changed / "decide.h"
    text = header.read_text()
    by_bcc.put(pod.pod, "--capture-dns", "all")
    with recorder(pod.pod, 15001, 15053), recorder(pod.outside, 53, 54):
        assert connect(pod.pod, FAR[4], 53)["port"] == 15053
        header.write_text(text.replace("#define DNS_PORT 53", "#define DNS_PORT 54"))
        assert not by_bcc.put(pod.pod, "--capture-dns", "all").changed
        assert connect(pod.pod, FAR[4], 53)["port"] == 15001
        assert connect(pod.pod, FAR[4], 54)["port"] == 15053
        # What does not compile, or the kernel does not take, leaves what is there.
        header.write_text(text.replace("int is_ipv4", "int is_ipv5"))
        with pytest.raises(HostError, match=r"decide\.h:\d+:\d+: error: ") as refused:
            by_bcc.load()
        assert "\n" not in refused.value.message
        header.write_text(text.replace("found ? *found", "1 ? *found"))
        with pytest.raises(HostError, match="Failed to load BPF program connect4") as refused:
            by_bcc.load()
        assert "invalid mem access" in refused.value.message
        assert connect(pod.pod, FAR[4], 54)["port"] == 15053


def test_what_is_missing_is_named(by_bcc: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as missing:
        missing.setattr(bcc, "INCLUDE", "/nowhere")
        with pytest.raises(HostError, match="headers for user space are not in /nowhere") as error:
            by_bcc.load()
        assert "linux-libc-dev" in error.value.hint
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "bcc", None)
        with pytest.raises(HostError, match="there is no bcc") as error:
            by_bcc.load()
        assert "python3-bpfcc" in error.value.hint
    assert by_bcc.attached() == ()
    by_bcc.load()
    assert by_bcc.attached() == tuple(sorted(CGROUP_KINDS))
