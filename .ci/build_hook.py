"""Compile the CNI plugin's launcher into a wheel, which is then for this kind of machine alone.

The launcher asks for no C library, so the wheel is for all of them. Without a compiler the wheel
is for any machine, and `interceptor cni install` says what it lacks.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCE = "interceptor/node/bundle/launcher.c"
_TARGET = "interceptor/_launcher/launcher"
_MACHINES = frozenset({"x86_64", "aarch64"})


class LauncherHook(BuildHookInterface[Any]):
    """Adds one file to a wheel."""

    directory: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile it; an editable install does so when it is asked for it."""
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        machine = platform.machine()
        if version == "editable" or machine not in _MACHINES:
            return
        if compiler is None:
            self.app.display_warning("no C compiler: this wheel cannot lay the CNI plugin down")
            return
        source = os.path.join(self.root, _SOURCE)
        with open(source, encoding="utf-8") as file:
            flags = " ".join(re.findall(r"^ \* cc: (.*)$", file.read(), re.MULTILINE)).split()
        self.directory = tempfile.TemporaryDirectory()
        made = os.path.join(self.directory.name, "launcher")
        subprocess.run([compiler, *flags, "-o", made, source], check=True)
        build_data["force_include"][made] = _TARGET
        build_data["tag"] = f"py3-none-manylinux2014_{machine}.musllinux_1_1_{machine}"
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing behind."""
        del version, build_data, artifact_path
        if self.directory is not None:
            self.directory.cleanup()
