"""What eBPF cannot do here is refused by name, as exit code 4, and nothing is changed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.paths import Done, dump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_EBPF = ("--backend", "ebpf")
_SETPRIV = "/usr/bin/setpriv"
_IN_A_MOUNT_NAMESPACE = ("/usr/bin/unshare", "--mount", "/bin/sh", "-ec")
_OLD_KERNEL = """
import errno, socket, sys
class Old(socket.socket):
    def getsockopt(self, level, name, *rest):
        if name == 71:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return super().getsockopt(level, name, *rest)
socket.socket = Old
from interceptor.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
"""SO_NETNS_COOKIE is of Linux 5.14."""


@pytest.fixture
def node() -> Iterator[EbpfNode]:
    with ebpf_node() as made:
        yield made


def _is_refused(done: Done, says: str, hint: str, code: int = 4) -> None:
    assert (done.code, done.stdout) == (code, ""), done
    error, told = done.stderr.splitlines()
    assert says in error
    assert hint in told


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--mode", "tproxy"), "has no --mode tproxy"),
        (("--virtual-interfaces", "vnet+"), "has no --virtual-interfaces: what is only passed on"),
        (("--exclude-interfaces", "eth7"), "has no --exclude-interfaces: no route is chosen yet"),
        (("--sheet", "istio"), "has no --sheet istio"),
        (("--drop-invalid",), "has no --drop-invalid: it does without conntrack"),
        (("--exempt-mark", ",".join(map(str, range(1, 18)))), "has no more than 16 marks"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("command", ["install", "prove", "check"])
def test_a_setting_it_does_not_have(
    pod: Pod, node: EbpfNode, command: str, flags: tuple[str, ...], says: str
) -> None:
    before = dump(pod.pod)
    done = node.call(command, *_EBPF, *flags, namespace=pod.pod)
    _is_refused(done, f"the eBPF backend {says}", "--backend nftables")
    assert (dump(pod.pod), node.pins.exists(), node.records) == (before, False, [])


def test_what_is_in_force_stays_in_force(pod: Pod, node: EbpfNode) -> None:
    node.done_well("install", *_EBPF, namespace=pod.pod)
    _is_refused(node.call("install", "--mode", "tproxy", *_EBPF, namespace=pod.pod), "tproxy", "")
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


@pytest.mark.parametrize(
    ("script", "says", "hint"),
    [
        ("mount -t tmpfs -o ro none /sys/fs", "no BPF file system at /sys/fs/bpf", "on the node"),
        ("umount --lazy /sys/fs/cgroup", "root of the cgroup v2 tree is not to be seen", "node"),
    ],
    ids=["bpffs", "cgroup"],
)
def test_a_host_that_lacks_something(
    pod: Pod, node: EbpfNode, script: str, says: str, hint: str
) -> None:
    before = dump(pod.pod)
    prefix = (*_IN_A_MOUNT_NAMESPACE, f'{script}\nexec "$@"', "sh")
    done = node.call("install", *_EBPF, "--netns", pod.pod.path, prefix=prefix)
    _is_refused(done, says, hint)
    assert (dump(pod.pod), node.pins.exists(), node.records) == (before, False, [])
    checked = node.call("check", *_EBPF, "--netns", pod.pod.path, prefix=prefix)
    assert (checked.code, says in checked.stdout) == (3, True)
    assert sorted(node.pins.parent.glob("interceptor*")) == []


def test_a_container_without_the_nodes_bpffs(pod: Pod, node: EbpfNode) -> None:
    """One mounted there would end with the container, and the interception with it."""
    argv = ("/usr/bin/unshare", "--mount", "--pid", "--fork", "--mount-proc", "/bin/sh", "-ec")
    prefix = (*argv, 'mount -t tmpfs none /sys/fs/bpf\nexec "$@"', "sh")
    done = node.call("install", *_EBPF, namespace=pod.pod, prefix=prefix)
    _is_refused(done, "none is mounted in this container", "mount the node's /sys/fs/bpf")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--bounding-set=-net_admin",), "it lacks CAP_NET_ADMIN"),
        (("--bounding-set=-sys_admin",), "may not be entered"),
        (("--reuid=1000", "--regid=1000", "--clear-groups"), "may not be entered"),
    ],
    ids=["net-admin", "sys-admin", "user"],
)
def test_a_process_that_may_not(
    pod: Pod, node: EbpfNode, argv: tuple[str, ...], says: str
) -> None:
    flags = ("install", *_EBPF, "--netns", pod.pod.path)
    _is_refused(node.call(*flags, prefix=(_SETPRIV, *argv)), says, "root")
    assert (node.pins.exists(), node.records) == (False, [])


@pytest.mark.parametrize("user", ["0", "1000"])
def test_its_own_namespace_is_not_enrolled(pod: Pod, node: EbpfNode, user: str) -> None:
    with pod.pod:
        done = node.call("install", *_EBPF, prefix=(_SETPRIV, f"--reuid={user}"))
    _is_refused(done, "the eBPF backend is the node's", "give the pod's namespace with --netns")
    assert not node.pins.exists()


@pytest.mark.parametrize("command", ["status", "uninstall"])
def test_a_user_is_not_told_that_nothing_is_there(pod: Pod, node: EbpfNode, command: str) -> None:
    node.done_well("install", *_EBPF, namespace=pod.pod)
    with pod.pod:
        done = node.call(command, prefix=(_SETPRIV, "--reuid=1000", "--clear-groups"))
    _is_refused(done, "it lacks CAP_NET_ADMIN", "root")


def test_looking_needs_no_more_than_for_rules(pod: Pod, node: EbpfNode) -> None:
    node.done_well("install", *_EBPF, namespace=pod.pod)
    with pod.pod:
        done = node.call("status", prefix=(_SETPRIV, "--bounding-set=-sys_admin"))
    assert (done.code, done.stdout.partition(":")[0]) == (0, "in-sync")


def test_what_cannot_be_looked_at_is_not_overlooked(pod: Pod, node: EbpfNode) -> None:
    """Another version's maps: rules are not put beside what may be in force."""
    node.done_well("install", *_EBPF, namespace=pod.pod)
    says = "a policy of ours is in force at this pod's sockets, and cannot be looked at"
    with node.machine() as machine:
        machine.held()
        state = machine.state()
        machine.map("states").put(bytes(4), msgspec.structs.replace(state, layout=99).pack())
        try:
            done = node.call("status", namespace=pod.pod)
            assert (done.code, done.stdout.startswith("uncertain")) == (3, True)
            assert says in done.stdout
            for command in (("install", "--backend", "nftables"), ("uninstall",)):
                refused = node.call(*command, namespace=pod.pod)
                _is_refused(refused, says, "that version's uninstall")
        finally:
            machine.map("states").put(bytes(4), state.pack())
    assert not pod.pod.run("nft", "list", "ruleset")
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


def test_an_old_kernel(pod: Pod, node: EbpfNode) -> None:
    argv = (*node.prefix, sys.executable, "-c", _OLD_KERNEL)
    flags = ("install", *_EBPF, "--netns", pod.pod.path)
    ran = subprocess.run([*argv, *flags], capture_output=True, text=True, check=False, timeout=60)
    done = Done(ran.returncode, ran.stdout, ran.stderr)
    _is_refused(done, "this kernel has no cookies of network namespaces", "needs Linux 5.15")
    assert not node.pins.exists()
    # It is no reason against rules.
    flags = ("install", "--backend", "nftables", "--netns", pod.pod.path)
    ran = subprocess.run([*argv, *flags], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran


@pytest.mark.parametrize("command", ["explain", "prove", "graph", "diff"])
def test_programs_are_not_taken_for_rules_that_are_not_there(
    pod: Pod, node: EbpfNode, command: str
) -> None:
    node.done_well("install", *_EBPF, namespace=pod.pod)
    more = {
        "explain": ("outbound", "--to", "10.0.0.1:80", "--live"),
        "diff": ("live", "config"),
    }.get(command, ("--live",))
    done = node.call(command, *more, namespace=pod.pod)
    _is_refused(done, "are programs at sockets", "--backend ebpf", code=2)


def test_there_is_no_text_of_it(node: EbpfNode) -> None:
    done = node.call("render", *_EBPF)
    _is_refused(done, "render has no text for --backend ebpf", "install --dry-run", code=2)
