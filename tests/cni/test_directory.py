"""The directory: which file our entry goes into, and what is left when it is taken out."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from interceptor.errors import HostError
from interceptor.node.directory import ChangedError, Directory
from interceptor.node.splice import OWN, SAVED, NoNetworkError, Splicer
from tests.lab import loader, network_files

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = b'{"type":"interceptor-cni","interceptor":{"selector":["*"]}}'
OTHER = b'{"type":"interceptor-cni","interceptor":{}}'


def _splicer(path: Path, root: str = "/") -> Splicer:
    return Splicer(Directory(str(path), root))


def _content(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


@pytest.mark.parametrize("name", [*network_files.LISTS, *network_files.SINGLES])
def test_it_goes_in_last_once_and_comes_out_byte_for_byte(tmp_path: Path, name: str) -> None:
    content = {**network_files.LISTS, **network_files.SINGLES}[name]
    (tmp_path / name).write_bytes(content)
    (tmp_path / name).chmod(0o600)
    (tmp_path / "calico-kubeconfig").write_bytes(b"x")
    before = _content(tmp_path)
    done = _splicer(tmp_path).put_in(ENTRY)
    assert (done.changed, done.name) == (True, name.rpartition(".")[0] + ".conflist")
    assert loader.types(tmp_path) == [*network_files.types(content), "interceptor-cni"]
    assert stat.S_IMODE((tmp_path / done.name).stat().st_mode) == 0o600
    inodes = {p.name: p.stat().st_ino for p in tmp_path.iterdir()}
    assert not _splicer(tmp_path).put_in(ENTRY).changed
    assert {p.name: p.stat().st_ino for p in tmp_path.iterdir()} == inodes, "written for nothing"
    assert _splicer(tmp_path).put_in(OTHER).changed
    assert _splicer(tmp_path).take_out()
    assert _content(tmp_path) == before
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert not _splicer(tmp_path).take_out()


def test_what_somebody_else_changed_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "10-calico.conflist"
    path.write_bytes(network_files.CALICO)
    _splicer(tmp_path).put_in(ENTRY)
    path.write_bytes(path.read_bytes().replace(b'"mtu": 0', b'"mtu": 1400'))
    _splicer(tmp_path).take_out()
    assert loader.types(tmp_path) == network_files.types(network_files.CALICO)
    assert loader.first(tmp_path)[1]["plugins"][0]["mtu"] == 1400
    assert os.listdir(tmp_path) == [path.name]


def test_a_list_made_of_a_single_one_and_changed_stays_a_list(tmp_path: Path) -> None:
    (tmp_path / "10-x.conf").write_bytes(network_files.BRIDGE)
    _splicer(tmp_path).put_in(ENTRY)
    path = tmp_path / "10-x.conflist"
    path.write_bytes(path.read_bytes().replace(b'"cni0"', b'"cni1"'))
    _splicer(tmp_path).take_out()
    assert os.listdir(tmp_path) == ["10-x.conflist"]
    assert loader.types(tmp_path) == ["bridge"]


def test_a_file_that_comes_first_takes_our_entry_over(tmp_path: Path) -> None:
    (tmp_path / "10-flannel.conflist").write_bytes(network_files.FLANNEL)
    _splicer(tmp_path).put_in(ENTRY)
    (tmp_path / "05-cilium.conflist").write_bytes(network_files.CILIUM)
    assert _splicer(tmp_path).put_in(ENTRY).name == "05-cilium.conflist"
    assert loader.types(tmp_path) == ["cilium-cni", "interceptor-cni"]
    assert (tmp_path / "10-flannel.conflist").read_bytes() == network_files.FLANNEL
    (tmp_path / "05-cilium.conflist").unlink()
    assert _splicer(tmp_path).put_in(ENTRY).name == "10-flannel.conflist"


def test_a_single_one_written_anew_is_made_a_list_anew(tmp_path: Path) -> None:
    (tmp_path / "10-x.conf").write_bytes(network_files.BRIDGE)
    _splicer(tmp_path).put_in(ENTRY)
    newer = network_files.BRIDGE.replace(b"cni0", b"cni7")
    (tmp_path / "10-x.conf").write_bytes(newer)
    _splicer(tmp_path).put_in(ENTRY)
    assert loader.first(tmp_path)[1]["plugins"][0]["bridge"] == "cni7"
    (tmp_path / "10-x.conf").write_bytes(network_files.BRIDGE)
    _splicer(tmp_path).take_out()
    assert _content(tmp_path) == {"10-x.conf": network_files.BRIDGE}, "nobody's newer file is lost"


def test_anothers_list_of_the_name_we_would_take_is_left_alone(tmp_path: Path) -> None:
    before = {"10-x.conf": network_files.BRIDGE, "10-x.conflist": network_files.FLANNEL}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    assert _splicer(tmp_path).put_in(ENTRY).name == "10-x.conf.conflist"
    assert loader.types(tmp_path) == ["bridge", "interceptor-cni"]
    _splicer(tmp_path).take_out()
    assert _content(tmp_path) == before


def test_entries_left_in_several_places_become_one(tmp_path: Path) -> None:
    twice = network_files.CILIUM.replace(b"    }\n  ]", b"    }," + ENTRY + b"," + OTHER + b"]")
    for name in ("05-cilium.conflist", "20-other.conflist"):
        (tmp_path / name).write_bytes(twice)
    assert _splicer(tmp_path).put_in(ENTRY).changed
    assert loader.types(tmp_path) == ["cilium-cni", "interceptor-cni"]
    assert b"interceptor" not in (tmp_path / "20-other.conflist").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("10-x.conflist", b'{"name":"n","cniVersion":"0.2.0","plugins":[{"type":"t"}]}', "0.2.0"),
        ("10-x.conflist", b'{"name":"n","plugins":[{"type":"t"}]}', "version none"),
        ("10-x.conf", b'{"name":"n","type":"interceptor-cni"}', "no plugin but"),
    ],
)
def test_where_no_pod_could_start_with_it_nothing_is_done(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HostError, match=what):
        _splicer(tmp_path).put_in(ENTRY)
    assert _content(tmp_path) == {name: content}


def test_what_is_not_valid_is_passed_over_and_told(tmp_path: Path) -> None:
    (tmp_path / "00-broken.conflist").write_bytes(b"{")
    (tmp_path / "01-huge.conf").write_bytes(b" ")
    os.truncate(tmp_path / "01-huge.conf", 1 << 25)
    (tmp_path / "02-gone.conf").symlink_to("nowhere")
    (tmp_path / "03-directory.conf").mkdir()
    os.mkfifo(tmp_path / "04-pipe.conf")
    (tmp_path / "10-flannel.conflist").write_bytes(network_files.FLANNEL)
    (tmp_path / "99-broken.conflist").write_bytes(b"{")
    done = _splicer(tmp_path).put_in(ENTRY)
    assert done.name == "10-flannel.conflist"
    assert [note.split(" ")[0] for note in done.notes] == [
        "00-broken.conflist",
        "01-huge.conf",
        "02-gone.conf",
        "04-pipe.conf",
    ]
    assert (tmp_path / "00-broken.conflist").read_bytes() == b"{"


def test_no_configuration_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoNetworkError, match="no network configuration"):
        _splicer(tmp_path).put_in(ENTRY)
    with pytest.raises(NoNetworkError):
        _splicer(tmp_path).copy(ENTRY)


@pytest.mark.parametrize("name", ["10-x.conflist", "10-x.conf"])
def test_a_link_stays_one_and_leads_from_the_nodes_root(tmp_path: Path, name: str) -> None:
    content = network_files.BRIDGE if name.endswith(".conf") else network_files.FLANNEL
    (tmp_path / "host/etc").mkdir(parents=True)
    (tmp_path / "host/var").mkdir()
    (tmp_path / "host/var/x").write_bytes(content)
    (tmp_path / "host/etc" / name).symlink_to("/var/x")
    splicer = _splicer(tmp_path / "host/etc", str(tmp_path / "host"))
    splicer.put_in(ENTRY)
    types = [*network_files.types(content), "interceptor-cni"]
    if name.endswith(".conflist"):
        assert network_files.types((tmp_path / "host/var/x").read_bytes()) == types
    else:
        assert loader.types(tmp_path / "host/etc") == types
    splicer.take_out()
    assert os.readlink(tmp_path / "host/etc" / name) == "/var/x"
    assert (tmp_path / "host/var/x").read_bytes() == content
    assert os.listdir(tmp_path / "host/etc") == [name]


def test_a_file_that_changes_while_we_work_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "05-cilium.conflist"
    path.write_bytes(network_files.CILIUM)
    newer = network_files.CILIUM.replace(b"false", b"true")
    fsync, turns = os.fsync, iter(range(100))

    def late(descriptor: int) -> None:
        if next(turns) == 0:
            path.write_bytes(newer)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", late)
    _splicer(tmp_path).put_in(ENTRY)
    assert loader.first(tmp_path)[1]["plugins"][0]["enable-debug"] is True
    assert loader.types(tmp_path) == ["cilium-cni", "interceptor-cni"]
    monkeypatch.setattr(os, "fsync", lambda _: path.write_bytes(os.urandom(1).hex().encode()))
    path.write_bytes(network_files.CILIUM)
    with pytest.raises((ChangedError, NoNetworkError)):
        _splicer(tmp_path).put_in(ENTRY)


def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "10-x.conf").write_bytes(network_files.BRIDGE)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for step in (_splicer(tmp_path).put_in, _splicer(tmp_path).copy):
        with pytest.raises(OSError, match="No space"):
            step(ENTRY)
    assert _content(tmp_path) == {"10-x.conf": network_files.BRIDGE}


@pytest.mark.parametrize("name", ["10-calico.conflist", "10-x.conf"])
def test_our_own_copy_comes_first_and_follows_the_other(tmp_path: Path, name: str) -> None:
    content = network_files.BRIDGE if name.endswith(".conf") else network_files.CALICO
    (tmp_path / name).write_bytes(content)
    assert _splicer(tmp_path).copy(ENTRY).name == OWN
    assert not _splicer(tmp_path).copy(ENTRY).changed
    assert loader.first(tmp_path)[0] == OWN
    assert loader.types(tmp_path) == [*network_files.types(content), "interceptor-cni"]
    assert (tmp_path / name).read_bytes() == content, "the other's file is its own"
    newer = content.replace(b"0.3.1", b"1.0.0").replace(b"0.4.0", b"1.0.0")
    (tmp_path / name).write_bytes(newer)
    assert _splicer(tmp_path).copy(ENTRY).changed
    assert loader.first(tmp_path)[1]["cniVersion"] == "1.0.0"
    (tmp_path / name).unlink()
    with pytest.raises(NoNetworkError):
        _splicer(tmp_path).copy(ENTRY)
    assert os.listdir(tmp_path) == [OWN], "what stands between a pod and no interception stays"


def test_the_two_ways_give_way_to_one_another(tmp_path: Path) -> None:
    path = tmp_path / "10-calico.conflist"
    path.write_bytes(network_files.CALICO)
    _splicer(tmp_path).put_in(ENTRY)
    _splicer(tmp_path).copy(OTHER)
    assert _content(tmp_path).keys() == {OWN, path.name}
    assert path.read_bytes() == network_files.CALICO
    (tmp_path / OWN).write_bytes(b"damaged")
    _splicer(tmp_path).put_in(ENTRY)
    assert _content(tmp_path).keys() == {path.name, path.name + SAVED}
    _splicer(tmp_path).copy(OTHER)
    _splicer(tmp_path).take_out()
    assert _content(tmp_path) == {path.name: network_files.CALICO}


def test_a_name_before_our_copy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "00-a.conflist").write_bytes(network_files.FLANNEL)
    with pytest.raises(HostError, match="comes before"):
        _splicer(tmp_path).copy(ENTRY)
