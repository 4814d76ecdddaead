"""What vagrant/ says, as far as it shows without a machine: make test-vagrant makes one."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
VAGRANT = ROOT / "vagrant"
TEXT = (VAGRANT / "Vagrantfile").read_text(encoding="utf-8")
SCRIPTS = ("box", "core.sh", "kernel.sh", "setup.sh", "try", "validate")
HERE = ".".join(platform.release().split(".")[:2])


def core(project: Path, *version: str, answer: str = "exit 0") -> subprocess.CompletedProcess[str]:
    """Run core.sh in a project whose interpreter does only this."""
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *pytest*) {answer} ;; *) echo tests/a.py ;; esac\n'
    )
    python.chmod(0o755)
    argv = [str(VAGRANT / "core.sh"), str(project), *version]
    environment = {**os.environ, "TMPDIR": str(project)}
    return subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=60, env=environment
    )


def test_the_kernels_are_those_of_make_test_vm() -> None:
    (line,) = re.findall(r"^KERNELS = \{(.*)\}$", TEXT, re.MULTILINE)
    suites = dict(re.findall(r'"k([0-9.]+)" => "([a-z-]+)"', line))
    (of_make,) = re.findall(r"^KERNELS \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert list(suites) == of_make.split()
    fetched = (ROOT / "tests" / "vm" / "apt").read_text()
    (known,) = re.findall(r"^  for suite in (.*); do$", fetched, re.MULTILINE)
    assert set(suites.values()) <= set(known.split())


def test_each_script_is_named_here_and_there() -> None:
    programs = {path.name for path in VAGRANT.iterdir() if os.access(path, os.X_OK)}
    assert programs == set(SCRIPTS)
    provisions = set(re.findall(r'provision "shell", path: "([^"]+)"', TEXT))
    assert provisions == {name for name in SCRIPTS if name.endswith(".sh")}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_shell(name: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-n", name], check=False, cwd=VAGRANT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_core_passes_on_the_kernel_that_was_meant(tmp_path: Path) -> None:
    done = core(tmp_path, HERE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"kernel {platform.release()}",
        f"the core of the suite passed on {platform.release()}",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [".venv"]


def test_the_core_is_not_run_on_another_kernel(tmp_path: Path) -> None:
    done = core(tmp_path, "2.4")
    assert done.returncode == 1
    assert done.stderr.startswith(f"this machine boots Linux {platform.release()}, and not 2.4\n")
    assert "passed" not in done.stdout


@pytest.mark.parametrize("status", [1, 2, 4, 5])
def test_what_pytest_ends_with_is_what_the_machine_ends_with(tmp_path: Path, status: int) -> None:
    done = core(tmp_path, HERE, answer=f"exit {status}")
    assert done.returncode == status
    assert "passed" not in done.stdout
