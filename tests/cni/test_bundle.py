"""A bundle as it is laid down: what is there, what a run of it writes, what it needs."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from interceptor.errors import DeadlineError, HostError
from interceptor.node.bundle import (
    Laid,
    inspect,
    launcher,
    lay,
    tools,
)
from interceptor.system.command import find
from interceptor.system.deadline import Deadline
from tests.lab.bundle import Bundle, answers, new_bundle, seen

pytestmark = pytest.mark.root


def test_laying_again_writes_nothing(bundle: Bundle) -> None:
    before = seen(bundle.directory)
    assert not lay(str(bundle.directory), Deadline(60))
    assert seen(bundle.directory) == before


def test_a_run_writes_nothing(bundle: Bundle) -> None:
    before = seen(bundle.directory)
    bundle.python("import interceptor.operations.status, interceptor.backends.iptables, email")
    assert seen(bundle.directory) == before


def test_it_says_what_is_there(bundle: Bundle, tmp_path: Path) -> None:
    laid = inspect(str(bundle.directory))
    assert (laid.present, laid.intact) == (True, True)
    assert laid.version
    assert os.listdir(bundle.home) == [laid.digest]
    assert inspect(str(tmp_path)) == Laid(present=False, version="", digest="", intact=False)
    (tmp_path / "interceptor-cni").write_text("somebody's")
    assert inspect(str(tmp_path)).present
    assert not inspect(str(tmp_path)).intact


def test_everything_is_a_plain_file_that_only_root_writes(bundle: Bundle) -> None:
    for path in [bundle.directory / "interceptor-cni", *bundle.home.rglob("*")]:
        status = path.lstat()
        assert status.st_uid == 0
        if path.is_dir():
            assert stat.S_IMODE(status.st_mode) == 0o755, path
        else:
            assert stat.S_ISREG(status.st_mode), path
            assert stat.S_IMODE(status.st_mode) in (0o755, 0o644), path


def test_what_can_be_executed_needs_no_interpreter(bundle: Bundle) -> None:
    executable = [p for p in bundle.directory.rglob("*") if p.is_file() and os.access(p, os.X_OK)]
    assert len(executable) > 10
    assert {p.read_bytes()[:4] for p in executable} == {b"\x7fELF"}


def test_the_umask_of_who_lays_it_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = new_bundle(tmp_path / "bin")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.tree.stat().st_mode) == 0o755
    assert stat.S_IMODE((made.tree / "lib/python3.11/os.pyc").stat().st_mode) == 0o644
    assert stat.S_IMODE(Path(made.plugin).stat().st_mode) == 0o755


def test_a_poisoned_environment_does_nothing(bundle: Bundle, tmp_path: Path) -> None:
    clean = bundle.version()
    poison = str(tmp_path)
    for name in ("libc.so.6", "libm.so.6", "os.py", "encodings.py", "interceptor.py", "site.py"):
        (tmp_path / name).write_text("raise SystemExit('poisoned')")
    preload = f"{poison}/libc.so.6"
    assert (
        bundle.version(
            LD_LIBRARY_PATH=poison,
            LD_PRELOAD=preload,
            LD_BIND_NOW="1",
            LD_DEBUG="all",
            PYTHONPATH=poison,
            PYTHONHOME=poison,
            PYTHONSTARTUP=f"{poison}/os.py",
            PYTHONVERBOSE="1",
            PYTHONINSPECT="1",
            GLIBC_TUNABLES="glibc.malloc.check=3",
            XTABLES_LIBDIR=poison,
            LC_ALL="tr_TR.ISO-8859-9",
        )
        == clean
    )


def test_closed_standard_streams_are_no_fault(bundle: Bundle) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {bundle.plugin} <&- 2>&-"],
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout[:12]) == (0, '{"cniVersion')


@pytest.mark.parametrize(
    ("names", "laid"),
    [((), False), (("nft",), True), (("xtables-legacy-multi",), True)],
    ids=["neither", "nft", "iptables"],
)
def test_it_brings_the_tools_there_are(
    names: tuple[str, ...], laid: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "find", lambda name: find(name) if name in names else None)
    if not laid:
        with pytest.raises(HostError, match="neither nft nor iptables"):
            lay(str(tmp_path / "bin"), Deadline(60))
        assert not (tmp_path / "bin/interceptor-cni").exists()
        return
    made = new_bundle(tmp_path / "bin")
    assert [p.name for p in (made.tree / "libexec").iterdir()] == list(names)
    assert answers(made)


def test_without_a_launcher_and_a_compiler_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "find", lambda _: None)
    with pytest.raises(HostError, match="no C compiler") as caught:
        lay(str(tmp_path / "bin"), Deadline(60))
    assert "gcc" in caught.value.hint


def test_what_does_not_run_there_is_told_at_once(tmp_path: Path) -> None:
    """As on a file system from which nothing may be executed; no runtime has to find it out."""
    mount = f"mount -t tmpfs -o noexec,mode=755 none {tmp_path}"
    code = (
        "from interceptor.node.bundle import inspect, lay\n"
        "from interceptor.errors import HostError\n"
        "from interceptor.system.deadline import Deadline\n"
        "try:\n"
        f"    lay({str(tmp_path)!r}, Deadline(60))\n"
        "except HostError as error:\n"
        f"    print(error.hint, inspect({str(tmp_path)!r}).present)\n"
        "import os\n"
        f"print(os.listdir({str(tmp_path / '.interceptor')!r}))"
    )
    done = subprocess.run(
        [
            *("/usr/bin/unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"),
            *(sys.executable, "-c", code),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "mount it so that programs may be executed: without noexec False\n[]\n"


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="Not a directory"):
        lay(str(tmp_path / "file"), Deadline(60))


def test_no_time_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DeadlineError):
        lay(str(tmp_path), Deadline(0.15))
    assert not inspect(str(tmp_path)).present
