"""Chromium without a screen: what a page becomes in it, as elements and as pixels."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest

if TYPE_CHECKING:
    from pathlib import Path

Colour = tuple[int, int, int]

_LONGEST_S = 90
_MAGIC = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}
"""Samples of a pixel by PNG's colour type: RGB, and RGB with alpha."""


class Pixels(msgspec.Struct, frozen=True):
    """A picture: rows of bytes, ``depth`` of them a pixel."""

    width: int
    height: int
    depth: int
    rows: tuple[bytes, ...]

    def at(self, x: int, y: int) -> Colour:
        red, green, blue = self.rows[y][x * self.depth : x * self.depth + 3]
        return red, green, blue

    def colours(self) -> Counter[Colour]:
        """Count the pixels of each colour."""
        found: Counter[Colour] = Counter()
        for row in self.rows:
            found.update(zip(*(row[n :: self.depth] for n in range(3)), strict=True))
        return found


def find() -> str:
    """Give the browser's command, or skip the test."""
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("needs chromium")
    return command


def elements(page: Path, work: Path, *, width: int = 1280) -> str:
    """Give the page as the browser has understood it, in a window of some width."""
    return _run(work, page, "--dump-dom", f"--window-size={width},1000")


def screenshot(page: Path, work: Path, *, width: int, height: int, dark: bool = False) -> Pixels:
    """Take a picture of the page in a window of some size."""
    target = work / f"{page.stem}-{width}-{'dark' if dark else 'light'}.png"
    _run(
        work,
        page,
        f"--screenshot={target}",
        f"--window-size={width},{height}",
        "--hide-scrollbars",
        # 0 is dark, 1 is light (blink::mojom::PreferredColorScheme).
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    )
    return decode(target.read_bytes())


def _run(work: Path, page: Path, *options: str) -> str:
    """Start the browser with a profile and no names to ask for; end all it started."""
    home = work / "home"
    home.mkdir(exist_ok=True)
    started = subprocess.Popen(
        [
            find(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={work / 'profile'}",
            *options,
            page.as_uri(),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(home)},
        start_new_session=True,
    )
    try:
        out, err = started.communicate(timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        # Its session is its own: the group is the browser and what it started, nothing else.
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        raise
    assert started.returncode == 0, err[-2000:]
    return out


def decode(png: bytes) -> Pixels:
    """Read a PNG of eight bits a sample that is not interlaced."""
    assert png.startswith(_MAGIC)
    at, data, head = len(_MAGIC), b"", b""
    while at < len(png):
        [length] = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            head = body
        elif kind == b"IDAT":
            data += body
        at += length + 12
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    assert (bits, interlaced) == (8, 0)
    depth = _CHANNELS[colour]
    raw, stride = zlib.decompress(data), width * depth
    rows: list[bytes] = []
    before = bytes(stride)
    for start in range(0, height * (stride + 1), stride + 1):
        line = raw[start + 1 : start + 1 + stride]
        before = _unfilter(raw[start], line, before, depth)
        rows.append(before)
    return Pixels(width, height, depth, tuple(rows))


def _unfilter(kind: int, line: bytes, above: bytes, depth: int) -> bytes:
    """Undo what PNG does to a row (W3C PNG, 9.2)."""
    if kind == 0:
        return line
    made = bytearray(line)
    for n in range(len(made)):
        left = made[n - depth] if n >= depth else 0
        up = above[n]
        match kind:
            case 1:
                guess = left
            case 2:
                guess = up
            case 3:
                guess = (left + up) // 2
            case _:
                guess = _paeth(left, up, above[n - depth] if n >= depth else 0)
        made[n] = (made[n] + guess) & 0xFF
    return bytes(made)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))
