"""Loading, enabling and taking away: twice, at once, half, and for pods that are gone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.backends.ebpf import layout
from interceptor.backends.ebpf.programs import Built
from interceptor.system.cookie import cookie
from interceptor.system.deadline import Deadline
from interceptor.system.libbpf import CGROUP_KINDS
from tests.lab.ebpf import Lab, config_for, lab_machine, new_root
from tests.lab.netns import namespaces
from tests.lab.pod import FAR, POD, Pod, new_pod
from tests.lab.traffic import connect, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_MANY = ",".join(f"10.{n // 256}.{n % 256}.0/24" for n in range(0, 20000, 2))


_ANOTHER = """
import os, sys
from tests.lab.ebpf import Lab, config_for
from interceptor.system.deadline import Deadline
root, path, how = sys.argv[1:]
class There:
    def __init__(self):
        self.path, self._descriptor = path, os.open(path, os.O_RDONLY)
    def __enter__(self):
        from interceptor.system.netns import enter
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        enter(self._descriptor, path)
    def __exit__(self, *_):
        from interceptor.system.netns import enter
        enter(self.home, path)
there = There()
configs = [config_for(there), config_for(there, ("--exclude-outbound-ports", "81"))]
print("ready", flush=True)
with Lab(Deadline(100), root) as machine:
    while True:
        for config in configs:
            machine.enable(there._descriptor, config)
        if how == "all":
            machine.drop(there)
            machine.unload()
"""
_CHECKOUT = Path(__file__).parent.parent.parent


@contextmanager
def _another(root: str, path: str, how: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have another process change things over and over, from the moment this is entered."""
    argv = [sys.executable, "-c", _ANOTHER, root, path, how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=_CHECKOUT) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == b"ready\n"
            yield started
        finally:
            started.kill()


def _bpftool(*arguments: str) -> Any:
    done = subprocess.run(
        ["/usr/sbin/bpftool", "-j", *arguments], capture_output=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def _kept(root: str) -> set[tuple[str, int]]:
    """Name all that is pinned below a directory."""
    found = set()
    for kind in ("map", "link"):
        for path, _, names in os.walk(root):
            for name in names:
                is_map = path.endswith("/maps")
                if is_map == (kind == "map"):
                    [*_, one] = [_bpftool(kind, "show", "pinned", f"{path}/{name}")]
                    found.add((kind, (one[0] if isinstance(one, list) else one)["id"]))
    return found


def _ids(kind: str) -> set[int]:
    return {one["id"] for one in _bpftool(kind, "show")}


def test_enabled_twice_is_enabled_once(pod: Pod, machine: Lab) -> None:
    assert machine.put(pod.pod).changed
    before = _kept(machine.root)
    assert not machine.put(pod.pod).changed
    assert _kept(machine.root) == before
    assert machine.drop(pod.pod)
    assert not machine.drop(pod.pod)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--include-inbound-ports", "1-1024,8080", "--exclude-inbound-ports", "80-90"),
        ("--include-outbound-cidrs", "10.0.0.0/8,fd00::/8", "--exclude-outbound-cidrs", _MANY),
        ("--capture-dns", "all", "--exclude-outbound-uids", "0,5-9"),
        ("--include-outbound-owner-groups", "1,7-9", "--exempt-mark", "0x1/0xf,7"),
        ("--ip-families", "ipv6", "--mode", "none"),
        ("--include-outbound-cidrs", "127.0.0.0/8", "--loopback-cidr", "127.0.0.0/24"),
    ],
    ids=["default", "ports", "ten-thousand-networks", "dns", "groups", "families", "loopback"],
)
def test_what_is_held_is_what_was_given(pod: Pod, machine: Lab, flags: tuple[str, ...]) -> None:
    wanted = config_for(pod.pod, flags)
    machine.put(pod.pod, *flags)
    held = machine.held()[cookie(pod.pod._descriptor)]
    assert held.config == wanted
    assert held.inode == os.stat(pod.pod.path).st_ino
    assert not machine.put(pod.pod, *flags).changed


def test_ten_thousand_networks(pod: Pod, machine: Lab) -> None:
    with recorder(pod.pod, 15001), recorder(pod.outside, 80):
        machine.put(pod.pod, "--exclude-outbound-cidrs", f"{_MANY},{FAR[4]}")
        assert connect(pod.pod, FAR[4], 80)["who"] == "outside"
        assert connect(pod.pod, FAR[6], 80)["port"] == 15001
        facts = len(machine.map("facts").keys())
        assert facts > 10000
        machine.drop(pod.pod)
        assert machine.map("facts").keys() == []


def test_nothing_is_left(pod: Pod) -> None:
    with lab_machine() as machine:
        machine.put(pod.pod)
        kept = _kept(machine.root)
        assert len([1 for kind, _ in kept if kind == "link"]) == len(CGROUP_KINDS) + 1
        assert not machine.unload()
        machine.drop(pod.pod)
        assert machine.unload()
        assert not os.path.exists(machine.root)
    # The kernel frees them a moment later.
    assert becomes(lambda: not kept & {(k, n) for k in ("link", "map") for n in _ids(k)})


def test_two_hundred_times_without_a_leak(machine: Lab) -> None:
    machine.load()
    before = _kept(machine.root)
    with namespaces("pod") as (inside,):
        for _ in range(200):
            assert machine.put(inside).changed
            assert machine.drop(inside)
    assert _kept(machine.root) == before
    for name in ("pods", "facts", "counts", "listeners", "pending"):
        assert machine.map(name).keys() == [], name
    assert os.listdir(f"{machine.root}/pods") == []


def test_pods_that_are_gone_are_collected(machine: Lab) -> None:
    with namespaces("pod", "other") as (inside, other):
        machine.put(inside)
        machine.put(other)
        gone = cookie(inside._descriptor)
        assert machine.collect() == ()
        inside.run("true")
        stays = cookie(other._descriptor)
        with namespaces("brief") as (brief,):
            machine.put(brief)
            brief_cookie = cookie(brief._descriptor)
        # The kernel takes a namespace down a moment after its last user left.
        end = time.monotonic() + 10
        found: tuple[int, ...] = ()
        while not found and time.monotonic() < end:
            found = machine.collect()
        assert found == (brief_cookie,)
        assert set(machine.held()) == {gone, stays}
        assert sorted(os.listdir(f"{machine.root}/pods")) == sorted(map(str, (gone, stays)))


def test_replaced_without_a_moment_of_neither(pod: Pod, machine: Lab) -> None:
    """While a policy is replaced all the time, each connection meets one of the two."""
    with recorder(pod.pod, 15001, 15006, 8080), recorder(pod.outside, 80):
        machine.put(pod.pod)
        with _another(machine.pin_root, pod.pod.path, "replace") as other:
            while machine.state().last_generation < 300:
                for _ in range(10):
                    assert connect(pod.pod, FAR[4], 80)["port"] == 15001
                    assert connect(pod.client, POD[4], 8080)["port"] == 15006
                assert other.poll() is None
    assert "unsettled" not in machine.counted(pod.pod)


def test_other_programs_take_the_place_of_the_old(
    pod: Pod, machine: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.put(pod.pod)
    links = _kept(machine.root)
    programs = {one["prog_id"] for one in _bpftool("link", "show")}
    monkeypatch.setattr(Built, "digest", lambda _: b"another".ljust(32))
    assert not machine.put(pod.pod).changed
    assert _kept(machine.root) == links
    mine = {one["prog_id"] for one in _bpftool("link", "show") if ("link", one["id"]) in links}
    assert len(mine) == len(CGROUP_KINDS) + 1
    assert not mine & programs
    with recorder(pod.pod, 15001, 15006):
        assert connect(pod.pod, FAR[4], 80)["port"] == 15001
        assert connect(pod.client, POD[4], 8080)["port"] == 15006


def test_killed_at_any_point_the_next_run_puts_it_right(pod: Pod) -> None:
    root = new_root()
    dice = random.Random(5)
    with Lab(Deadline(110), root) as machine, recorder(pod.pod, 15001, 15006):
        try:
            for _ in range(25):
                with _another(root, pod.pod.path, "all"):
                    time.sleep(dice.uniform(0.001, 0.09))
                machine.close()
                machine.put(pod.pod)
                assert machine.held()[cookie(pod.pod._descriptor)].config == config_for(pod.pod)
                assert machine.attached() == tuple(sorted(CGROUP_KINDS))
                assert not machine.state().changing
                assert connect(pod.pod, FAR[4], 80)["port"] == 15001
                assert connect(pod.client, POD[4], 8080)["port"] == 15006
                wanted = layout.lower(config_for(pod.pod), 1).facts
                assert len(machine.map("facts").keys()) == len(wanted)
        finally:
            machine.unload(even_if_used=True)
    assert not os.path.exists(root)


def test_what_somebody_left_half_done_is_taken_away_with_the_next_thing(
    pod: Pod, machine: Lab
) -> None:
    with namespaces("other") as (other,):
        machine.put(pod.pod)
        machine.put(other)
        # As if somebody had died while enabling: a policy, and nothing yet for what arrives.
        os.unlink(f"{machine.root}/pods/{cookie(other._descriptor)}")
        machine._store.note(changing=True)
        assert machine.drop(pod.pod)
        assert machine.held() == {}
        assert machine.map("facts").keys() == []


def test_half_a_machine_is_none_and_is_taken_away(pod: Pod, machine: Lab) -> None:
    machine.load()
    os.unlink(f"{machine.root}/maps/facts")
    machine.close()
    assert (machine.held(), machine.counts(), machine.collect()) == ({}, {}, ())
    assert not machine.drop(pod.pod)
    assert machine.unload()
    assert not os.path.exists(machine.root)
    assert machine.put(pod.pod).changed


def test_on_half_a_machine_a_pod_goes_and_the_others_stay(pod: Pod, machine: Lab) -> None:
    """Programs go on with maps that are not pinned any more."""
    with new_pod() as other, recorder(other.pod, 15001, 15006), recorder(pod.outside, 80):
        machine.put(pod.pod)
        machine.put(other.pod)
        os.unlink(f"{machine.root}/maps/facts")
        machine.close()
        assert machine.drop(pod.pod)
        assert not machine.unload()
        assert connect(pod.pod, FAR[4], 80)["port"] == 80
        assert connect(other.pod, FAR[4], 80)["port"] == 15001
        assert connect(other.client, POD[4], 8080)["port"] == 15006


def test_loaders_at_the_same_time(machine: Lab) -> None:
    failures: list[BaseException] = []

    def one(namespace: Any) -> None:
        try:
            with Lab(Deadline(60), machine.pin_root) as mine:
                for _ in range(10):
                    mine.put(namespace)
                    mine.drop(namespace)
                mine.put(namespace)
        except BaseException as error:  # noqa: BLE001 - it is told below
            failures.append(error)

    with namespaces("a", "b", "c", "d") as made:
        configs = {one.name: config_for(one) for one in made}
        threads = [threading.Thread(target=one, args=(each,)) for each in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        held = machine.held()
        assert {cookie(each._descriptor): configs[each.name] for each in made} == {
            number: one.config for number, one in held.items()
        }
