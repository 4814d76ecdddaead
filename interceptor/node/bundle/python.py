"""This Python: its program, its library, the packages the plugin imports, and the plugin itself.

Of the library all is brought but what no plugin can want. To look for what is imported would
find less, but not what C code imports, nor what is imported by a name made at run time; one
missing module costs more than a few hundred small files.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import TYPE_CHECKING

import interceptor
from interceptor.errors import HostError
from interceptor.node.bundle.piece import Piece, copied, module, program
from interceptor.sheets import loader

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = f"lib/{_VERSION}"
PROGRAM = "bin/python3"

_PACKAGES = ("msgspec", "pyyaml")
"""What the plugin imports; yaml for files of settings and for what the API server is asked by."""
_KUBERNETES = "kubernetes"
_ASYNCHRONOUS, _OF_ASYNCHRONOUS = "aio", frozenset({"aiohttp", "aiohttp-retry"})
"""Its other half, and what that alone needs: the plugin asks once, and waits."""

_PACKAGES_UNUSED = """
__phello__ __pycache__ config curses dbm dist distutils ensurepip idlelib lib2to3 msilib pydoc_data
site sqlite3 test tests tkinter turtledemo venv wsgiref xmlrpc
"""
_MODULES_UNUSED = """
__hello__ _aix_support _bootsubprocess _distutils_system_mod _osx_support _pydecimal _pyio aifc
antigravity bdb cProfile cgi cgitb chunk crypt doctest filecmp formatter ftplib imaplib mailbox
mailcap modulefinder nntplib pdb pipes poplib profile pstats pyclbr sitecustomize smtpd smtplib
sndhdr sunau tabnanny telnetlib this turtle uu wave xdrlib
_bz2 _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _crypt _ctypes_test
_curses _curses_panel _dbm _gdbm _lsprof _lzma _multibytecodec _sqlite3 _testbuffer _testcapi
_testclinic _testimportmultiple _testinternalcapi _testmultiphase _tkinter _xxsubinterpreters
_xxtestfuzz audioop nis ossaudiodev readline xxlimited xxlimited_35
"""
_UNUSED_PACKAGES = frozenset(_PACKAGES_UNUSED.split())
_UNUSED_MODULES = frozenset(_MODULES_UNUSED.split())
_FOREIGN_LETTERS = (
    *("big5", "cp", "euc_", "gb", "hp_", "hz", "iso2022", "iso8859_", "johab", "koi8", "kz"),
    *("mac_", "mbcs", "oem", "palmos", "ptcp", "shift_jis", "tis"),
)
"""Encodings nobody writes what the plugin reads in; ``latin_1`` is a module of its own."""
_CRYPTOGRAPHY = frozenset({"_ssl", "_hashlib"})
"""They bring 6 MB of OpenSSL, for whoever asks the API server; hashes are built in as well."""
_SLOWER_WITHOUT = "_yaml."
"""A library's compiled half, of 3 MB, which does without: settings are short."""

_UNUSED_ROOMS = frozenset({"cli", "verify", "node", "__main__.py", "_launcher", "_rules"})
"""Of this package; the plugin cannot import from them, or what is in them is brought otherwise."""
_NO_DATA = (".pyi", "py.typed", ".pyc", ".c", ".h", ".pyx", ".pxd")


def pieces(*, kubernetes: bool) -> Iterator[Piece]:
    """Give all of Python that the plugin needs.

    Raises:
        HostError: something of it is not installed here.
    """
    yield program(PROGRAM, os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    yield from _standard_library(
        _UNUSED_MODULES if kubernetes else _UNUSED_MODULES | _CRYPTOGRAPHY
    )
    wanted = (*_PACKAGES, _KUBERNETES) if kubernetes else _PACKAGES
    for distribution in _with_needed(wanted):
        yield from _distribution(distribution)
    yield from _plugin()


def _standard_library(unused: frozenset[str]) -> Iterator[Piece]:
    root = sysconfig.get_path("stdlib")
    for path in _files(root, _UNUSED_PACKAGES):
        directory, name = os.path.split(path)
        if not name.endswith((".py", ".so")) or name.partition(".")[0] in unused:
            continue
        if directory != "encodings" or not name.startswith(_FOREIGN_LETTERS):
            yield module(LIBRARY, path, os.path.join(root, path))


def _with_needed(names: tuple[str, ...]) -> dict[str, None]:
    """Give the names of distributions, and of all they need that is installed."""
    from importlib.metadata import PackageNotFoundError, requires

    found: dict[str, None] = {}
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name in found or name in _OF_ASYNCHRONOUS:
            continue
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            if name in names:
                raise HostError(
                    f"the Python package {name} is not installed here",
                    hint=f"install interceptor with it: pip install 'interceptor[{name}]'"
                    if name == _KUBERNETES
                    else "install interceptor again",
                ) from None
            # It is for another Python or another system.
            continue
        found[name] = None
        ahead += [_name(line) for line in needed if "extra ==" not in line.partition(";")[2]]
    return found


def _name(requirement: str) -> str:
    """Give the name a requirement begins with (PEP 508), as ``urllib3<3,>=1.26``."""
    import re

    found = re.match(r"\s*([A-Za-z0-9._-]+)", requirement)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _distribution(name: str) -> Iterator[Piece]:
    from importlib.metadata import files

    listed = files(name)
    if listed is None:
        raise HostError(
            f"the Python package {name} does not say which files it has",
            hint="install it with pip, not by the system's own packages",
        )
    for file in listed:
        parts = file.parts
        if ".." in parts or parts[0].endswith(".dist-info"):
            continue
        if {"tests", _ASYNCHRONOUS} & set(parts):
            continue
        if not file.name.endswith(_NO_DATA) and not file.name.startswith(_SLOWER_WITHOUT):
            yield module(LIBRARY, str(file), str(file.locate()))


def _plugin() -> Iterator[Piece]:
    root = os.path.dirname(os.path.abspath(str(interceptor.__file__)))
    for path in _files(root, _UNUSED_ROOMS):
        if path.endswith(".py"):
            yield module(f"{LIBRARY}/interceptor", path, os.path.join(root, path))
    rules = loader.rules_directory()
    for name in loader.shipped():
        file = f"{name}.toml"
        yield copied(f"{LIBRARY}/interceptor/_rules/{file}", os.path.join(rules, file))


def _files(root: str, unused: frozenset[str]) -> Iterator[str]:
    """Give the files below a directory, by their paths below it, without some names."""
    for directory, directories, names in os.walk(root):
        # What is to be linked with Python is in config-3.11-x86_64-linux-gnu and the like.
        directories[:] = [name for name in directories if name.partition("-")[0] not in unused]
        for name in names:
            if name not in unused:
                yield os.path.relpath(os.path.join(directory, name), root)
