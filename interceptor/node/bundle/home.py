"""A directory of CNI plugins, and the bundle that is laid into it, replaced and removed.

At every moment, also if the process that lays is killed, there is no launcher or one that runs: a
tree is whole and on disk before it gets its name, it has its name before a launcher that starts
it takes the place of the one before, and only then are other trees removed. Those that plugin
calls run from are left to the next time (see launcher.c for the lock these calls hold).
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from interceptor.errors import HostError
from interceptor.files import read_file
from interceptor.node.bundle.contents import Contents, gather
from interceptor.node.bundle.launcher import HOME, LAUNCHERS, NAME, digest_of, python
from interceptor.node.bundle.piece import PROGRAM_MODE
from interceptor.node.bundle.tree import Laid, hash_of, look_over, make, mend, write_file
from interceptor.system.command import run
from interceptor.system.deadline import Deadline
from interceptor.system.holding import alone, suddenly_alone, written

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_BYTES = 1 << 20
_PATIENCE_S = 10.0
"""For plugin calls under way when their bundle is removed; then it is removed all the same."""
_PAUSE_S = 0.02

_NEW_TREE, _NEW_LAUNCHER, _OLD = "new-tree", "new-launcher", "old-"
"""What is made or removed; no digest has such a letter."""
_IMPORTED = (
    "import interceptor.cni.bundled, interceptor.cni.plugin, interceptor.operations.install"
)


def lay(bin_dir: str, deadline: Deadline, *, kubernetes: bool = False) -> bool:
    """Lay the bundle of this installation down, so that its plugin runs from a directory.

    One that is there and intact is left as it is; of a damaged one the damaged files are
    replaced. With ``kubernetes`` it can ask the API server.

    Returns:
        Whether anything had to be done.

    Raises:
        HostError: something of it is missing here, or it cannot be written there.
        DeadlineError: it took too long.
    """
    home = os.path.join(bin_dir, HOME)
    with _told(bin_dir), alone(home, deadline):
        contents = gather(deadline, kubernetes=kubernetes)
        changed = _lay_tree(home, contents, deadline)
        changed |= _lay_launcher(bin_dir, contents.launcher)
        _clear(home, {contents.digest})
        return changed


def remove(bin_dir: str) -> bool:
    """Remove the plugin and all its bundles; calls under way get ten seconds.

    Returns:
        Whether there was anything.

    Raises:
        HostError: it cannot be removed.
        DeadlineError: another process is laying it down.
    """
    home, launcher = os.path.join(bin_dir, HOME), os.path.join(bin_dir, NAME)
    with _told(bin_dir):
        if not os.path.lexists(home) and not os.path.lexists(launcher):
            return False
        patience = Deadline(_PATIENCE_S)
        with alone(home, patience):
            with suppress(FileNotFoundError):
                os.unlink(launcher)
            while not patience.is_over and _clear(home, set()):
                time.sleep(_PAUSE_S)
            shutil.rmtree(home)
        return True


def inspect(bin_dir: str) -> Laid:
    """Say what is laid down in a directory, and whether it is as it was laid."""
    try:
        launcher = read_file(os.path.join(bin_dir, NAME), _MOST_BYTES)
    except FileNotFoundError:
        return Laid(present=False, version="", digest="", intact=False)
    except (OSError, ValueError):
        return Laid(present=True, version="", digest="", intact=False)
    digest = digest_of(launcher) or ""
    manifest = look_over(os.path.join(bin_dir, HOME, digest)) if digest else None
    if manifest is None:
        return Laid(present=True, version="", digest=digest, intact=False)
    whole = hash_of(launcher) == manifest.launcher and _is_program(os.path.join(bin_dir, NAME))
    return Laid(present=True, version=manifest.version, digest=digest, intact=whole)


def _lay_tree(home: str, contents: Contents, deadline: Deadline) -> bool:
    tree = os.path.join(home, contents.digest)
    if look_over(tree) is not None:
        return False
    fresh = os.path.join(home, _NEW_TREE)
    _discard(fresh)
    try:
        make(fresh, contents, deadline)
        _try(fresh, contents, deadline)
    except BaseException:
        _discard(fresh)
        raise
    if os.path.islink(tree) or not os.path.isdir(tree):
        _discard(tree)
    if os.path.lexists(tree):
        mend(tree, fresh)
        _discard(fresh)
        written(home)
    else:
        written(home)
        os.rename(fresh, tree)
    _sync(home)
    return True


def _try(tree: str, contents: Contents, deadline: Deadline) -> None:
    """See that what was made runs here, before anything depends on it.

    Raises:
        HostError: it does not.
    """
    started = [python(tree, contents.loader, "-c", _IMPORTED)]
    directory = os.path.join(tree, LAUNCHERS)
    started += [(os.path.join(directory, name), "--version") for name in os.listdir(directory)]
    for argv in started:
        try:
            outcome = run(argv, deadline)
        except HostError as error:
            raise HostError(
                f"it was laid down and does not run: {error.message}",
                hint="mount it so that programs may be executed: without noexec",
            ) from None
        if outcome.returncode != 0:
            said = [*reversed(outcome.stderr.splitlines()), "it does not say why"][0]
            raise HostError(
                f"it was laid down and does not run: {argv[0]}: {said}",
                hint="mend the installation that is to be laid down: install it again",
            )


def _lay_launcher(bin_dir: str, content: bytes) -> bool:
    path, fresh = os.path.join(bin_dir, NAME), os.path.join(bin_dir, HOME, _NEW_LAUNCHER)
    with suppress(OSError, ValueError):
        if read_file(path, _MOST_BYTES) == content and _is_program(path):
            return False
    _discard(fresh)
    write_file(fresh, content, PROGRAM_MODE)
    _sync(fresh)
    os.rename(fresh, path)
    _sync(bin_dir)
    return True


def _clear(home: str, wanted: set[str]) -> bool:
    """Remove what is not wanted and nobody runs from; whether something is left."""
    left = False
    for name in set(os.listdir(home)) - wanted:
        path = os.path.join(home, name)
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            continue
        with suddenly_alone(path) as held:
            if held:
                # At once out of the way of launchers, which then look for their successor.
                gone = path if name.startswith(_OLD) else os.path.join(home, _OLD + name)
                if gone != path:
                    _discard(gone)
                    os.rename(path, gone)
                shutil.rmtree(gone)
            left |= not held
    return left


def _discard(path: str) -> None:
    """Remove what a process that was killed has left."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _is_program(path: str) -> bool:
    return os.lstat(path).st_mode & 0o7777 == PROGRAM_MODE


def _sync(path: str) -> None:
    """Have a file, or which names a directory has, on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(bin_dir: str) -> Iterator[None]:
    """Say of what the system refuses where that was."""
    try:
        yield
    except OSError as error:
        raise HostError(
            f"{error.filename or bin_dir}: {error.strerror or error}",
            hint=f"let this process write to {bin_dir}, and give it 60 MB there",
        ) from None
