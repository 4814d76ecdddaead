"""Network configurations: what is valid, and our entry in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from interceptor.node import network_list
from tests.lab import network_files

_ENTRY = b'{"type": "interceptor-cni", "interceptor": {}}'
_OTHER = b'{"type": "interceptor-cni", "interceptor": {"selector": ["*"]}}'

_VALID = {**network_files.LISTS, **network_files.SINGLES}

_READ: dict[str, tuple[str, bytes, bool]] = {
    **{name: (name, content, True) for name, content in _VALID.items()},
    "no-version": ("a.conflist", b'{"name":"n","plugins":[{"type":"t"}]}', True),
    "twice-a-key": ("a.conflist", b'{"name":"n","name":"m","plugins":[{"type":"t"}]}', True),
    "list-as-conf": ("a.conf", b'{"name":"n","plugins":[{"type":"t"}]}', False),
    "conf-as-list": ("a.conflist", b'{"name":"n","type":"t"}', False),
    "empty": ("a.conflist", b"", False),
    "no-json": ("a.conf", b"name: n\n", False),
    "half": ("10-calico.conflist", network_files.CALICO[:100], False),
    "comma": ("a.conf", b'{"name":"n","type":"t",}', False),
    "bom": ("a.conf", b'\xef\xbb\xbf{"name":"n","type":"t"}', False),
    "trailing": ("a.conf", b'{"name":"n","type":"t"}{}', False),
    "array": ("a.conflist", b'[{"name":"n","plugins":[{"type":"t"}]}]', False),
    "no-plugins": ("a.conflist", b'{"name":"n"}', False),
    "empty-plugins": ("a.conflist", b'{"name":"n","plugins":[]}', False),
    "null-plugins": ("a.conflist", b'{"name":"n","plugins":null}', False),
    "no-type": ("a.conflist", b'{"name":"n","plugins":[{"type":"t"},{"typ":"t"}]}', False),
    "empty-type": ("a.conflist", b'{"name":"n","plugins":[{"type":""}]}', False),
    "number-type": ("a.conflist", b'{"name":"n","plugins":[{"type":1}]}', False),
    "text-plugin": ("a.conflist", b'{"name":"n","plugins":["t"]}', False),
    "null-plugin": ("a.conflist", b'{"name":"n","plugins":[null]}', False),
    "no-name": ("a.conflist", b'{"plugins":[{"type":"t"}]}', False),
    "number-name": ("a.conflist", b'{"name":1,"plugins":[{"type":"t"}]}', False),
    "number-version": (
        "a.conflist",
        b'{"name":"n","cniVersion":1,"plugins":[{"type":"t"}]}',
        False,
    ),
    "text-check": (
        "a.conflist",
        b'{"name":"n","disableCheck":"x","plugins":[{"type":"t"}]}',
        False,
    ),
    "conf-no-type": ("a.conf", b'{"name":"n"}', False),
    "conf-number-name": ("a.conf", b'{"name":1,"type":"t"}', False),
}


def _verdict(name: str, content: bytes) -> str:
    try:
        network = network_list.read(name, content)
    except ValueError:
        return "refused"
    return f"{network.name}:{','.join(network.types)}"


@pytest.mark.parametrize("case", _READ)
def test_a_file_is_valid_or_not(case: str) -> None:
    name, content, valid = _READ[case]
    assert (_verdict(name, content) != "refused") is valid


def test_libcni_takes_what_we_take(tmp_path: Path) -> None:
    """libcni of 1.1.2, as Debian has its source."""
    program = tmp_path / "libcni"
    source = Path(__file__).with_name("libcni") / "main.go"
    go = shutil.which("go")
    assert go, "needs golang-go"
    environment = {
        "GOPATH": "/usr/share/gocode",
        "GO111MODULE": "off",
        "HOME": os.environ.get("HOME", "/root"),
        "PATH": "/usr/bin:/bin",
    }
    subprocess.run([go, "build", "-o", program, source], check=True, env=environment)
    paths, ours = [], []
    for case, (name, content, _) in _READ.items():
        spliced = [(name, content)]
        if _verdict(name, content) != "refused":
            made = network_list.read(name, content).with_ours(_ENTRY).encode()
            spliced.append((f"{name}.conflist", made))
        for number, (one, text) in enumerate(spliced):
            path = tmp_path / f"{case}-{number}" / one
            path.parent.mkdir()
            path.write_bytes(text)
            paths.append(path)
            ours.append(_verdict(one, text))
    done = subprocess.run([program, *paths], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ours


@pytest.mark.parametrize("name", _VALID)
def test_our_entry_comes_last_and_the_rest_stays(name: str) -> None:
    network = network_list.read(name, _VALID[name])
    made = network.with_ours(_ENTRY)
    assert made.types == (*network_files.types(_VALID[name]), "interceptor-cni")
    written = json.loads(made.encode())
    before = json.loads(_VALID[name])
    if name in network_files.LISTS:
        assert list(written) == list(before)
        assert written == {**before, "plugins": [*before["plugins"], json.loads(_ENTRY)]}
    else:
        single = {k: v for k, v in before.items() if k not in ("name", "cniVersion")}
        assert written["plugins"][0] == single
        assert (written["name"], written["cniVersion"]) == (before["name"], before["cniVersion"])
        assert b"1.50" in made.encode()
        assert b"123456789012345678901234567890" in made.encode()
    again = network_list.read("a.conflist", made.encode())
    assert again.means(made)
    assert again.without_ours().means(network)


def test_older_entries_of_ours_make_room() -> None:
    plugins = b",".join([_OTHER, b'{"type":"a"}', _ENTRY, b'{"type":"b"}', _OTHER])
    content = b'{"name":"n","cniVersion":"1.0.0","plugins":[' + plugins + b"]}"
    network = network_list.read("a.conflist", content)
    assert len(network.ours) == 3
    made = network.with_ours(_ENTRY)
    assert made.types == ("a", "b", "interceptor-cni")
    assert made.ours == (_ENTRY,)


def test_a_single_one_of_no_version_becomes_a_list_of_the_oldest() -> None:
    network = network_list.read("a.conf", b'{"name":"n","type":"t"}')
    assert network.version == "0.3.1"


def test_a_fault_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="its plugin 2 has no type"):
        network_list.read("a.conflist", b'{"name":"n","plugins":[{"type":"t"},{}]}')
    with pytest.raises(ValueError, match="no JSON"):
        network_list.read("a.conf", b"{")
    with pytest.raises(ValueError, match="no JSON"):
        network_list.read("a.conf", b"[" * 100_000)
