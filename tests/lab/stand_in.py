"""A bundle of one file, in the place of the real one, which is large.

As a program it is ``interceptor`` with that bundle: ``python -m tests.lab.stand_in cni install``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from interceptor.system import atomic

if TYPE_CHECKING:
    from interceptor.system.deadline import Deadline

CONTENT = b"#!/bin/sh\n"


class Laid(msgspec.Struct, frozen=True):
    present: bool
    version: str
    digest: str
    intact: bool


def _path(bin_dir: str) -> str:
    return os.path.join(bin_dir, "interceptor-cni")


def lay(bin_dir: str, deadline: Deadline, *, kubernetes: bool = False) -> bool:
    del kubernetes
    deadline.remaining("laying the bundle")
    if inspect(bin_dir).intact:
        return False
    atomic.replace_file(_path(bin_dir), CONTENT, mode=0o755)
    return True


def remove(bin_dir: str) -> bool:
    atomic.remove_leftovers(bin_dir)
    return atomic.remove_file(_path(bin_dir))


def inspect(bin_dir: str) -> Laid:
    try:
        with open(_path(bin_dir), "rb") as file:
            intact = file.read() == CONTENT
    except OSError:
        return Laid(present=False, version="", digest="", intact=False)
    return Laid(present=True, version="0", digest="0", intact=intact)


def main() -> None:
    from interceptor import node
    from interceptor.cli.main import run

    here = sys.modules[__name__]
    sys.modules["interceptor.node.bundle"] = here
    vars(node)["bundle"] = here
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
