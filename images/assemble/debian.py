"""The packages of this Debian: which file is whose, in which version."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_DATABASE = Path("/var/lib/dpkg")
_MERGED = ("bin/", "lib/", "lib32/", "lib64/", "libx32/", "sbin/")
"""Directories that are links to those below usr, while packages still name them so."""


@dataclass(frozen=True)
class Package:
    """One that is installed."""

    name: str
    version: str
    architecture: str
    source: str


@dataclass(frozen=True)
class Debian:
    """What dpkg has noted; paths are below the root."""

    packages: dict[str, Package]
    owners: dict[str, str]

    def owner(self, path: str) -> Package:
        """Give the package a file is of.

        Raises:
            LookupError: none has it.
        """
        return self.packages[self.owners[merged(path)]]


def merged(path: str) -> str:
    """Give a path as it is on disk: what is in a directory of the root is below usr."""
    path = path.removeprefix(".").strip("/")
    return f"usr/{path}" if path.startswith(_MERGED) else path


def read() -> Debian:
    """Read dpkg's notes."""
    packages = {}
    for paragraph in (_DATABASE / "status").read_text().split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if line[:1] != " " and ": " in line
        )
        if fields.get("Status") == "install ok installed":
            name = fields["Package"]
            source = fields.get("Source", name).partition(" ")[0]
            one = Package(name, fields["Version"], fields["Architecture"], source)
            packages[name] = one
    owners = {}
    for file in sorted((_DATABASE / "info").glob("*.list")):
        package = file.name.removesuffix(".list").partition(":")[0]
        for path in file.read_text().splitlines():
            if package in packages:
                owners[merged(path)] = package
    return Debian(packages, owners)


def on_disk(path: str) -> Path:
    """Give where a merged path is here, also where directories of the root are no links yet."""
    there = Path("/", path)
    return there if os.path.lexists(there) else Path("/", path.removeprefix("usr/"))
