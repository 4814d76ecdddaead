"""What runtimes make and leave: mounts and control groups."""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cgroup() -> str:
    """Give a control group that only one runtime puts its pods in."""
    return f"/iv-{os.getpid()}-{secrets.token_hex(3)}"


def remove_cgroup(name: str) -> bool:
    """Take a control group and those in it away; false if somebody still is in one."""
    for top in CGROUPS.glob(f"*{name}"):
        for directory, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)
    return not any(CGROUPS.glob(f"*{name}"))


def unmount(path: str) -> None:
    """Take a mount away, whoever still uses it."""
    subprocess.run(["/usr/bin/umount", "--lazy", path], check=False, timeout=20)


def unmount_below(directory: Path) -> None:
    """Take away all mounts in a directory, the innermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted(points, reverse=True):
        if point.startswith(f"{directory}/"):
            unmount(point)
