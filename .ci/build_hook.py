"""Compile what a package brings: the eBPF programs, and the CNI plugin's launcher.

With the launcher a wheel is for this kind of machine alone, but for every C library: it asks for
none. Without a compiler the wheel is for any machine, and `interceptor cni install` says what it
lacks, as `--backend ebpf` does where there was no clang.
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

_PROGRAMS = ".ci/bpf"
_SOURCE = "interceptor/node/bundle/launcher.c"
_TARGET = "interceptor/_launcher/launcher"
_MACHINES = frozenset({"x86_64", "aarch64"})


class CompileHook(BuildHookInterface[Any]):
    """Adds compiled files to a wheel, and the programs to archives and editable installs too."""

    directory: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before files are gathered."""
        self._compile_programs()
        # An editable install compiles the launcher when it is asked for it.
        if self.target_name == "wheel" and version != "editable":
            self._compile_launcher(build_data)

    def _compile_programs(self) -> None:
        done = subprocess.run(
            [os.path.join(self.root, _PROGRAMS)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            self.app.display_warning(f"without the eBPF backend: {done.stderr.strip()}")

    def _compile_launcher(self, build_data: dict[str, Any]) -> None:
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        machine = platform.machine()
        if machine not in _MACHINES:
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
