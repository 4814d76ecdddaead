"""bcc, which compiles C for the kernel where it is loaded: Debian's python3-bpfcc.

It is imported when something is compiled and not before: that takes a quarter of a second and,
with the compiler it brings, more than a hundred megabytes.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from interceptor.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

INCLUDE = "/usr/include"
"""Where the kernel's uapi headers are."""
_SOURCE = "BCC_KERNEL_SOURCE"
_TREE = {
    # bcc asks whether the kernel has BPF at all; the kernel is asked anyway.
    "linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "linux/log2.h": "",
    "asm/page.h": "",
    "linux/types.h": (
        "#pragma once\n"
        "#include <uapi/linux/types.h>\n"
        "typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;\n"
        "typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;\n"
        "typedef _Bool bool; typedef unsigned long size_t, uintptr_t;\n"
    ),
}
"""What bcc's own declarations want of a kernel's headers, beside those for user space."""

_FLAGS = ("-D__LINUX_BPF_H__", "-Werror=implicit-function-declaration")
"""bcc brings its own linux/bpf.h: leave the host's out. And a call of what is nowhere is a mistake
here, not when the kernel refuses it."""
_LAST_WORDS = ("processed ", "-- END", "HINT")


class Module:
    """A compiled text, whose programs can be loaded.

    Args:
        text: C.
        include: the directory of its own headers.
        defined: macros and what they stand for.
    """

    def __init__(self, text: str, include: str, defined: dict[str, str]) -> None:
        program = _program()
        flags = [*_FLAGS, f"-I{include}", *(f"-D{name}={to}" for name, to in defined.items())]
        with _headers(), _said() as said:
            try:
                self._bpf = program(text=text.encode(), cflags=flags)
            except Exception as error:  # noqa: BLE001 - bcc has no other
                raise HostError(
                    f"bcc cannot compile {include}: {_first_error(said()) or error}",
                    hint="put the source right; --ebpf-loader libbpf has no need of it",
                ) from None

    def load(self, name: str, kind: int, attached: int) -> int:
        """Have the kernel check and keep a program; give its descriptor, which ends with this.

        Args:
            name: of the function.
            kind: enum bpf_prog_type.
            attached: enum bpf_attach_type, or -1 if that kind wants none.

        Raises:
            HostError: it does not; the message has the verifier's words.
        """
        with _said() as said:
            try:
                program = self._bpf.load_func(name.encode(), kind, attach_type=attached)
                descriptor: int = program.fd
            except Exception as error:  # noqa: BLE001 - bcc has no other
                lines = [one for one in said().splitlines() if one.strip()]
                why = [one for one in lines if not one.startswith(_LAST_WORDS)]
                words = f"{error}".replace(f"b'{name}'", name) + (f" ({why[-1]})" if why else "")
                raise HostError(
                    words, hint="--ebpf-loader libbpf has the programs as they were tested"
                ) from None
        return descriptor

    def close(self) -> None:
        """Let go of it; what is attached by a link that is pinned stays."""
        import atexit

        # It registers itself, and so would be kept until the process ends.
        atexit.unregister(self._bpf.cleanup)
        self._bpf.cleanup()


def _program() -> Any:
    try:
        from bcc import BPF
    except ImportError:
        raise HostError(
            "there is no bcc that this Python can import",
            hint="install Debian's python3-bpfcc (PyPI's bcc is another thing), and make the "
            "virtual environment with --system-site-packages",
        ) from None
    except OSError as error:
        raise HostError(
            f"bcc is there and its library is not: {error}",
            hint="install Debian's libbpfcc, or say --ebpf-loader libbpf",
        ) from None
    return BPF


@contextmanager
def _headers() -> Iterator[None]:
    """Show bcc a kernel's headers: those for user space, and a few lines of our own.

    It would look for those of the running kernel, which hardly any host has. What it compiles here
    needs none of them.
    """
    import sysconfig

    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    assembly = next(
        (
            path
            for path in (f"{INCLUDE}/{multiarch}/asm", f"{INCLUDE}/asm")
            if os.path.exists(f"{path}/types.h")
        ),
        "",
    )
    if not assembly or not os.path.exists(f"{INCLUDE}/linux/in6.h"):
        raise HostError(
            f"the kernel's headers for user space are not in {INCLUDE}: bcc cannot compile",
            hint="install linux-libc-dev (elsewhere kernel-headers or linux-headers)",
        )
    before = os.environ.get(_SOURCE)
    with tempfile.TemporaryDirectory(prefix="interceptor-bcc-") as tree:
        for name, text in _TREE.items():
            path = f"{tree}/include/{name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        os.mkdir(f"{tree}/include/uapi")
        for name, to in (
            ("linux", f"{INCLUDE}/linux"),
            ("asm-generic", f"{INCLUDE}/asm-generic"),
            ("asm", assembly),
        ):
            os.symlink(to, f"{tree}/include/uapi/{name}")
        os.environ[_SOURCE] = tree
        try:
            yield
        finally:
            if before is None:
                del os.environ[_SOURCE]
            else:
                os.environ[_SOURCE] = before


@contextmanager
def _said() -> Iterator[Any]:
    """Gather what bcc prints: it has no other way to say what is wrong with a source.

    All of this process goes there meanwhile, other threads' words too.
    """
    import sys

    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def said() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _first_error(said: str) -> str:
    for line in said.splitlines():
        if "error:" in line:
            return line.strip()
    return ""
