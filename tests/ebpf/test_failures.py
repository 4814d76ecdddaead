"""What cannot be done is said in one line, with what to do, and nothing is left half done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.backends.ebpf import layout, loading, programs
from interceptor.backends.ebpf.layout import State
from interceptor.errors import HostError, InterceptorError
from interceptor.system.bpf_map import Map
from interceptor.system.bpf_object import Object
from interceptor.system.cookie import cookie
from interceptor.system.libbpf import CGROUP_KINDS
from tests.lab.ebpf import Lab, config_for, new_root
from tests.lab.pod import FAR, Pod
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.root

_FAULTY = """
struct sock_addr { unsigned int a[16]; };
__attribute__((section("cgroup/connect4"), used))
int faulty(struct sock_addr *ctx) { return ctx->a[15] + 7; }
char its_license[] __attribute__((section("license"), used)) = "Apache-2.0";
"""

_LOAD = """
import sys
from interceptor.errors import InterceptorError
from tests.lab.ebpf import Lab
from interceptor.system.deadline import Deadline
try:
    Lab(Deadline(10), sys.argv[1]).load()
except InterceptorError as error:
    print(type(error).__name__, error.exit_code, error.message, error.hint, sep="|")
"""


def test_what_the_verifier_says(tmp_path: Path) -> None:
    source, built = tmp_path / "faulty.c", tmp_path / "faulty.o"
    source.write_text(_FAULTY)
    argv = ["/usr/bin/clang", "-O2", "-g", "-target", "bpf", "-c", str(source), "-o", str(built)]
    subprocess.run(argv, check=True)
    made = Object(built.read_bytes(), "faulty.o")
    try:
        with pytest.raises(HostError) as refused:
            made.load()
    finally:
        made.close()
    assert "the kernel does not take faulty.o: Permission denied" in refused.value.message
    assert "(" in refused.value.message
    assert "\\n" not in refused.value.message
    assert "5.15" in refused.value.hint


def test_what_is_no_object() -> None:
    with pytest.raises(InterceptorError, match="cannot be read: libbpf does not understand it"):
        Object(b"\x7fELF and nothing", "broken.o")


@pytest.mark.parametrize("lacking", ["sys_admin,-bpf", "sys_admin,-net_admin"])
def test_without_a_privilege(lacking: str) -> None:
    root = new_root()
    argv = ["/usr/bin/setpriv", f"--bounding-set=-{lacking}", sys.executable, "-c", _LOAD, root]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parent.parent.parent,
    )
    try:
        kind, code, message, hint = done.stdout.strip().split("|")
        assert (kind, code) == ("HostError", "4"), message
        assert "root" in hint
    finally:
        with Lab.at(root) as machine:
            machine.unload(even_if_used=True)
    assert not os.path.exists(root)


def test_a_map_that_is_full_changes_nothing(
    pod: Pod, machine: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.put(pod.pod)
    before = machine.held()
    put_all = Map.put_all

    def full(self: Map, entries: Mapping[bytes, bytes]) -> None:
        put_all(self, dict(list(entries.items())[:5]))
        raise self._full_or(28)

    monkeypatch.setattr(Map, "put_all", full)
    with pytest.raises(HostError, match="the BPF map facts is full"):
        machine.put(pod.pod, "--exclude-outbound-ports", "81")
    monkeypatch.undo()
    assert machine.held() == before
    assert len(machine.map("facts").keys()) == len(layout.lower(config_for(pod.pod), 1).facts)
    with recorder(pod.pod, 15001):
        assert connect(pod.pod, FAR[4], 80)["port"] == 15001


def test_a_link_that_cannot_be_made_leaves_no_half_pod(
    pod: Pod, machine: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise HostError("no link today")

    monkeypatch.setattr(loading, "link_pod", broken)
    with pytest.raises(HostError, match="no link today"):
        machine.put(pod.pod)
    monkeypatch.undo()
    assert machine.held() == {}
    assert machine.map("facts").keys() == []
    with recorder(pod.outside, 80):
        assert connect(pod.pod, FAR[4], 80)["who"] == "outside"


def test_another_versions_maps_are_let_alone(pod: Pod, machine: Lab) -> None:
    machine.put(pod.pod)
    mine = machine.state()
    states = machine.map("states")
    states.put(bytes(4), State(layout=99).pack())
    try:
        with (
            Lab.at(machine.pin_root) as another,
            pytest.raises(HostError, match="another version of this program"),
        ):
            another.put(pod.pod)
    finally:
        states.put(bytes(4), mine.pack())
    assert list(machine.held()) == [cookie(pod.pod._descriptor)]


def test_another_versions_maps_with_other_names_are_no_rest_to_remove(
    pod: Pod, machine: Lab
) -> None:
    """That some maps are missing is what somebody leaves who died, or who had others."""
    machine.put(pod.pod)
    mine, states = machine.state(), machine.map("states")
    states.put(bytes(4), State(layout=99).pack())
    os.rename(f"{machine.root}/maps/rings", f"{machine.root}/maps/others")
    try:
        with Lab.at(machine.pin_root) as another:
            for does in (
                another.load,
                another.unload,
                another.collect,
                another.held,
                another.counts,
                lambda: another.drop(pod.pod),
                lambda: another.put(pod.pod),
            ):
                with pytest.raises(HostError, match="another version of this program"):
                    does()
    finally:
        os.rename(f"{machine.root}/maps/others", f"{machine.root}/maps/rings")
        states.put(bytes(4), mine.pack())
    assert list(machine.held()) == [cookie(pod.pod._descriptor)]
    assert machine.attached() == tuple(sorted(CGROUP_KINDS))


def test_programs_that_were_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_PROGRAMS", "/nowhere/interceptor.bpf.o")
    root = new_root()
    with Lab.at(root) as machine:
        with pytest.raises(HostError, match="the compiled programs are missing") as missing:
            machine.load()
        assert machine.unload()
    assert "make bpf" in missing.value.hint
    assert not os.path.exists(root)
