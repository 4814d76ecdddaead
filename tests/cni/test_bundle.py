"""A bundle is there whole or not at all, whatever happens to it or to who lays it down."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.errors import DeadlineError, HostError
from interceptor.node.bundle import (
    Laid,
    contents,
    home,
    inspect,
    launcher,
    lay,
    python,
    remove,
    tools,
)
from interceptor.node.bundle.piece import Kind, Piece
from interceptor.system.command import find
from interceptor.system.deadline import Deadline
from tests.lab.bundle import Bundle, new_bundle
from tests.lab.plugin import Network, call
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root


@pytest.fixture
def own(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle that a test may change."""
    return Bundle(Path(shutil.copytree(bundle.directory, tmp_path / "bin", symlinks=True)))


@pytest.fixture(scope="module")
def gathered() -> tuple[contents.Contents, contents.Contents]:
    """What is in the bundle, and in one of another version."""
    now = contents.gather(Deadline(60), kubernetes=False)
    with pytest.MonkeyPatch.context() as patch:
        other(patch)
        return now, contents.gather(Deadline(60), kubernetes=False)


def other(patch: pytest.MonkeyPatch) -> None:
    """Have another bundle laid."""
    pieces = python.pieces

    def more(*, kubernetes: bool) -> Iterator[Piece]:
        yield from pieces(kubernetes=kubernetes)
        yield Piece("lib/more", Kind.FILE, content=b"of another version")

    patch.setattr(python, "pieces", more)


def answers(bundle: Bundle) -> bool:
    return bundle.version().startswith('0 {"cniVersion"')


def seen(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Give what every write would change."""
    paths = [directory, *directory.rglob("*")]
    return {str(p): (s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for p in paths for s in [p.lstat()]}


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


def flip(tree: Path) -> None:
    path = tree / "lib/libc.so.6"
    content = bytearray(path.read_bytes())
    content[4096] ^= 1
    path.write_bytes(content)


def lose(tree: Path) -> None:
    (tree / "lib/python3.11/os.pyc").unlink()


def lose_directory(tree: Path) -> None:
    shutil.rmtree(tree / "sbin")


def add(tree: Path) -> None:
    (tree / "lib/python3.11/msgspec.py").write_text("raise SystemExit")


def forbid(tree: Path) -> None:
    (tree / "bin/python3").chmod(0o600)


def link(tree: Path) -> None:
    shutil.move(tree / "libexec", tree / "elsewhere")
    (tree / "libexec").symlink_to("elsewhere")


def block(tree: Path) -> None:
    (tree / "lib/libm.so.6").unlink()
    (tree / "lib/libm.so.6").mkdir()
    (tree / "lib/libm.so.6/full").write_text("")


def cut(tree: Path) -> None:
    path = tree / "manifest"
    path.write_bytes(path.read_bytes()[:5000])


_DAMAGES = (flip, lose, lose_directory, add, forbid, link, block, cut)


def test_every_damage_is_seen_and_all_are_mended(own: Bundle, bundle: Bundle) -> None:
    tree = own.tree
    for damage in _DAMAGES:
        damage(tree)
        laid = inspect(str(own.directory))
        assert (laid.present, laid.digest, laid.intact) == (True, tree.name, False), damage
        if damage is not _DAMAGES[-1]:
            shutil.rmtree(tree)
            shutil.copytree(bundle.tree, tree)
            assert inspect(str(own.directory)).intact
    for damage in _DAMAGES[:-1]:
        damage(tree)
    sound = (tree / "lib/libz.so.1").stat().st_ino
    assert lay(str(own.directory), Deadline(60))
    assert inspect(str(own.directory)).intact
    assert answers(own)
    assert (tree / "lib/libz.so.1").stat().st_ino == sound
    assert os.listdir(own.home) == [tree.name]


def test_a_damaged_launcher_is_replaced(own: Bundle) -> None:
    path = Path(own.plugin)
    damages: tuple[Callable[[], object], ...] = (
        lambda: path.write_bytes(path.read_bytes()[:-40]),
        lambda: path.write_bytes(b""),
        lambda: path.chmod(0o644),
        path.unlink,
    )
    for damage in damages:
        damage()
        assert not inspect(str(own.directory)).intact
        assert lay(str(own.directory), Deadline(60))
        assert inspect(str(own.directory)).intact
    assert answers(own)


@pytest.mark.parametrize("missing", ["", "bin/python3", "lib/ld-linux-x86-64.so.2"])
def test_a_launcher_without_its_bundle_says_so(own: Bundle, missing: str, tmp_path: Path) -> None:
    odd = tmp_path / 'a "quoted" \\ dir\n\xe9'
    shutil.move(own.directory, odd)
    moved = Bundle(odd)
    gone = moved.tree / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    answer = call("{}", program=(moved.plugin,), CNI_COMMAND="ADD")
    assert answer.error["code"] == 5
    assert answer.error["cniVersion"] == "1.0.0"
    assert answer.error["details"] == "run interceptor cni install again"
    assert answer.error["msg"].endswith("cannot be started: it is not there")
    assert '"quoted" \\ dir\n' in answer.error["msg"]


def test_a_launcher_alone_says_so(tmp_path: Path) -> None:
    bare = tmp_path / "interceptor-cni"
    bare.write_bytes(launcher.base(Deadline(60)))
    bare.chmod(0o755)
    done = subprocess.run([bare], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 126
    assert done.stderr == f"{bare} does not say what to start\n"


def test_it_may_be_moved(own: Bundle, tmp_path: Path) -> None:
    shutil.move(own.directory, tmp_path / "elsewhere")
    assert answers(Bundle(tmp_path / "elsewhere"))


def test_no_call_fails_while_versions_are_replaced(
    own: Bundle,
    gathered: tuple[contents.Contents, contents.Contents],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    over = threading.Event()

    def calls() -> None:
        while not over.is_set():
            said.append(own.version())

    callers = [threading.Thread(target=calls) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for number in range(8):
            chosen = gathered[1 - number % 2]
            monkeypatch.setattr(home, "gather", lambda *_, c=chosen, **__: c)
            lay(str(own.directory), Deadline(60))
    finally:
        over.set()
        for caller in callers:
            caller.join()
    assert len(said) > 20
    assert set(said) == {own.version()}
    lay(str(own.directory), Deadline(60))
    assert len(os.listdir(own.home)) == 1


def test_a_launcher_that_is_replaced_as_it_starts_becomes_its_successor(
    own: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own.tree
    with Path(own.plugin).open("rb") as old:
        other(monkeypatch)
        assert lay(str(own.directory), Deadline(60))
        assert not before.exists()
        done = subprocess.run(
            [own.plugin],
            executable=f"/proc/self/fd/{old.fileno()}",
            pass_fds=[old.fileno()],
            env={"CNI_COMMAND": "VERSION"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert f"{done.returncode} {done.stdout}{done.stderr}" == own.version()
    assert answers(own)


def test_a_tree_that_runs_is_removed_later(
    own: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = own.tree
    with begun(own) as call_under_way:
        assert becomes(lambda: holders(before))
        with monkeypatch.context() as patch:
            other(patch)
            assert lay(str(own.directory), Deadline(60))
            assert own.tree != before
            assert before.is_dir()
            # All that it imports from here on it imports from the tree it was started from.
            said = call_under_way.communicate(ending(tmp_path))
            assert call_under_way.returncode == 0, said
            assert not lay(str(own.directory), Deadline(60))
            assert not before.exists()


def begun(bundle: Bundle) -> subprocess.Popen[str]:
    """Begin a call that waits for its configuration."""
    return subprocess.Popen(
        [bundle.plugin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"CNI_COMMAND": "GC", "CNI_PATH": "/opt/cni/bin"},
    )


def ending(directory: Path) -> str:
    """Give what such a call waits for."""
    valid: dict[str, Any] = {"cni.dev/valid-attachments": []}
    return Network(directory / "state", version="1.1.0").text(**valid)


def holders(tree: Path) -> bool:
    """Whether somebody holds a tree, as /proc/locks has it."""
    inode = tree.stat().st_ino
    return any(line.split()[5].endswith(f":{inode}") for line in _locks())


def _locks() -> list[str]:
    return [line for line in Path("/proc/locks").read_text().splitlines() if "FLOCK" in line]


def test_killed_at_any_moment_it_is_absent_or_runs(
    tmp_path: Path,
    gathered: tuple[contents.Contents, contents.Contents],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(30)
    made = Bundle(tmp_path / "bin")
    chosen = [gathered[0]]
    monkeypatch.setattr(home, "gather", lambda *_, **__: chosen[0])
    began = time.monotonic()
    lay(str(made.directory), Deadline(60))
    whole_s = time.monotonic() - began
    for number in range(30):
        if number % 10 == 0:
            remove(str(made.directory))
        if number % 10 == 4:
            lay(str(made.directory), Deadline(60))
        chosen[0] = gathered[1 - number % 2]
        child = os.fork()
        if child == 0:
            try:
                lay(str(made.directory), Deadline(60))
            finally:
                os._exit(0)
        time.sleep(dice.uniform(0, whole_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        there = Path(made.plugin).exists()
        assert there or number % 10 < 4
        assert not there or answers(made)
    lay(str(made.directory), Deadline(60))
    assert inspect(str(made.directory)).intact
    assert os.listdir(made.home) == [chosen[0].digest]


def test_two_who_lay_it_at_once_wait_for_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gathered: tuple[contents.Contents, ...]
) -> None:
    monkeypatch.setattr(home, "gather", lambda *_, **__: gathered[0])
    made = Bundle(tmp_path / "bin")
    did: list[bool] = []
    threads = [
        threading.Thread(target=lambda: did.append(lay(str(made.directory), Deadline(60))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(did) == [False, False, True]
    assert answers(made)


def test_removal_leaves_nothing(own: Bundle) -> None:
    (own.directory / "bridge").write_text("somebody else's")
    assert remove(str(own.directory))
    assert os.listdir(own.directory) == ["bridge"]
    assert not remove(str(own.directory))
    assert not remove(str(own.directory / "never-was"))


def test_removal_waits_for_calls_under_way(own: Bundle, tmp_path: Path) -> None:
    with begun(own) as call_under_way:
        tree = own.tree
        assert becomes(lambda: holders(tree))
        remover = threading.Thread(target=remove, args=(str(own.directory),))
        remover.start()
        assert becomes(lambda: not Path(own.plugin).exists())
        said = call_under_way.communicate(ending(tmp_path))
        assert call_under_way.returncode == 0, said
        remover.join()
    assert os.listdir(own.directory) == []


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
