"""--ebpf-loader: whose programs they are is no part of what is enforced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.backends.ebpf.programs import Loader, programs
from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.paths import dump, interceptor
from tests.lab.pod import FAR, POD, Pod
from tests.lab.traffic import connect, endpoint, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

_EBPF = ("--backend", "ebpf")
_BCC = ("--ebpf-loader", "bcc")
_IN_A_MOUNT_NAMESPACE = ("/usr/bin/unshare", "--mount", "/bin/sh", "-ec")


@pytest.fixture
def node() -> Iterator[EbpfNode]:
    with ebpf_node() as made:
        yield made


def _loader(node: EbpfNode) -> Loader:
    with node.machine() as machine:
        found = machine.loaded()
    loaders: tuple[Loader, ...] = ("libbpf", "bcc")
    return next(one for one in loaders if programs(one).digest() == found)


def test_one_after_the_other(pod: Pod, node: EbpfNode) -> None:
    node.done_well("install", *_EBPF, namespace=pod.pod)
    assert _loader(node) == "libbpf"
    replaced = node.done_well("install", *_BCC, namespace=pod.pod).stdout
    assert replaced.startswith("installed")
    assert _loader(node) == "bcc"
    again = node.done_well("install", *_EBPF, *_BCC, namespace=pod.pod).stdout
    assert again.startswith("already in place")
    # Status does not ask whose they are, and there is no setting of it in the record.
    status = node.done_well("status", "--output", "json", namespace=pod.pod).json
    assert (status["state"], status["sockets"]["programs"]) == ("in-sync", 11)
    with recorder(pod.pod, 15001, 15006), recorder(pod.outside, 80):
        outbound = connect(pod.pod, FAR[4], 80)
        assert (outbound["port"], outbound["original"]) == (15001, endpoint(FAR[4], 80))
        assert connect(pod.client, POD[6], 8080)["port"] == 15006
    node.done_well("install", namespace=pod.pod)
    assert _loader(node) == "libbpf"
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    node.done_well("uninstall", namespace=pod.pod)
    assert not node.pins.exists()


def test_as_any_setting(pod: Pod, node: EbpfNode, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('ebpf_loader = "bcc"\nbackend = "ebpf"\n')
    node.done_well("install", "--config", str(file), namespace=pod.pod)
    assert _loader(node) == "bcc"
    said = {"INTERCEPTOR_EBPF_LOADER": "bcc"}
    shown = interceptor("config", "show", "--output", "json", environment=said).json
    assert "INTERCEPTOR_EBPF_LOADER" in str(shown)
    assert "'ebpf_loader': {'value': 'bcc'" in str(shown)
    wrong = interceptor("config", "show", "--ebpf-loader", "bbc")
    assert (wrong.code, "'bbc' is none of libbpf, bcc" in wrong.stderr) == (2, True)


def test_where_there_are_rules_it_says_nothing(pod: Pod, node: EbpfNode) -> None:
    """As --iptables-variant says nothing of nftables."""
    done = node.done_well("install", "--backend", "nftables", *_BCC, namespace=pod.pod)
    assert "sidecar on nftables" in done.stdout
    assert not node.pins.exists()


@pytest.mark.parametrize(
    ("script", "says", "hint"),
    [
        (
            "mount -t tmpfs none /usr/lib/python3/dist-packages/bcc",
            "there is no bcc that this Python can import",
            "PyPI's bcc is another thing",
        ),
        (
            "mount --bind /dev/null $(realpath /usr/lib/*-linux-gnu/libbcc.so.0)",
            "bcc is there and its library is not",
            "install Debian's libbpfcc",
        ),
        (
            "mount -t tmpfs none /usr/include/linux",
            "the kernel's headers for user space are not in /usr/include",
            "install linux-libc-dev",
        ),
    ],
    ids=["bcc", "library", "headers"],
)
def test_what_is_missing_is_named(
    pod: Pod, node: EbpfNode, script: str, says: str, hint: str
) -> None:
    before = dump(pod.pod)
    prefix = (*_IN_A_MOUNT_NAMESPACE, f'{script}\nexec "$@"', "sh")
    place = ("--netns", pod.pod.path)
    done = node.call("install", *_EBPF, *_BCC, *place, prefix=prefix)
    assert (done.code, done.stdout) == (4, ""), done
    error, told = done.stderr.splitlines()
    assert says in error
    assert hint in told
    assert (dump(pod.pod), node.pins.exists(), node.records) == (before, False, [])
    # The other loader has no need of it, and what it loaded stays if this one cannot.
    assert node.call("install", *_EBPF, *place, prefix=prefix).code == 0
    assert node.call("install", *_EBPF, *_BCC, *place, prefix=prefix).code == 4
    assert _loader(node) == "libbpf"
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


def test_the_plugin_brings_no_compiler(pod: Pod, node: EbpfNode, tmp_path: Path) -> None:
    said = {"backend": "ebpf", "ebpf_loader": "bcc"}
    error = node.network(tmp_path / "state", settings=said).call("ADD", pod.pod.path).error
    assert "the CNI plugin brings no compiler, so no bcc" in error["msg"]
    file = tmp_path / "settings.toml"
    file.write_text('backend = "ebpf"\nebpf_loader = "bcc"\n')
    root = tmp_path / "root"
    (root / "etc/cni/net.d").mkdir(parents=True)
    done = interceptor("cni", "install", "--host-root", str(root), "--settings", str(file))
    assert (done.code, "brings no compiler, so no bcc" in done.stderr) == (2, True)
    assert [path for path in root.rglob("*") if path.is_file()] == []
    file.write_text('backend = "nftables"\nebpf_loader = "libbpf"\n')
    done = interceptor("cni", "install", "--host-root", str(root), "--settings", str(file))
    assert "compiler" not in done.stderr
