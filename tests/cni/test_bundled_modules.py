"""Every module a plugin call can want is in the bundle, also those that are imported late."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import interceptor
from tests.lab.bundle import Bundle, new_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_ROOT = Path(str(interceptor.__file__)).parent
_LEFT_OUT = {"cli", "node", "verify", "__main__.py", "_launcher"}
_OPTIONAL = {"bcc", "iptc", "kubernetes", "urllib3"}
"""Whoever imports them does without, or asks for them when the bundle is laid; bcc is refused."""

_IMPORT_ALL = """
import importlib, json, pkgutil, sys
import interceptor
failed = {}
for found in pkgutil.walk_packages(interceptor.__path__, "interceptor."):
    try:
        importlib.import_module(found.name)
    except Exception as error:
        failed[found.name] = repr(error)
print(json.dumps([failed, len([name for name in sys.modules if name.startswith("interceptor.")])]))
"""

_IMPORT_EACH = """
import importlib, json
failed = {}
for module, name in json.loads(%r):
    try:
        found = importlib.import_module(module)
        if name and not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")
    except Exception as error:
        failed[f"{module} {name}"] = repr(error)
print(json.dumps(failed))
"""


def imports() -> Iterator[tuple[str, str]]:
    """Give what the plugin's modules import, early or late, but not what they import for types."""
    for path in _ROOT.rglob("*.py"):
        if path.relative_to(_ROOT).parts[0] in _LEFT_OUT:
            continue
        tree = ast.parse(path.read_text())
        typing = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in typing:
                continue
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((str(node.module), alias.name) for alias in node.names)


def test_every_module_of_the_plugin_is_importable(bundle: Bundle) -> None:
    failed, loaded = json.loads(bundle.python(_IMPORT_ALL))
    assert not failed
    ours = [p for p in _ROOT.rglob("*.py") if p.relative_to(_ROOT).parts[0] not in _LEFT_OUT]
    assert loaded == len(ours) - 1


def test_everything_they_import_is_there(bundle: Bundle) -> None:
    wanted = sorted({row for row in imports() if row[0].partition(".")[0] not in _OPTIONAL})
    assert len(wanted) > 300
    assert ("yaml", "") in wanted
    assert not json.loads(bundle.python(_IMPORT_EACH % json.dumps(wanted)))


def test_nothing_of_the_command_line_is_in_it(bundle: Bundle) -> None:
    library = bundle.tree / "lib/python3.11"
    assert not {"click", "rich", "pyroute2", "kubernetes", "test", "tkinter"} & {
        path.name for path in library.iterdir()
    }
    assert not _LEFT_OUT & {path.name for path in (library / "interceptor").iterdir()}
    assert not list(library.rglob("*.py"))


def test_it_can_bring_what_asks_the_api_server(tmp_path: Path) -> None:
    made = new_bundle(tmp_path / "bin", kubernetes=True)
    code = (
        "import ssl, os, certifi\n"
        "from kubernetes import client, config\n"
        "ssl.create_default_context(cafile=certifi.where())\n"
        "print(client.CoreV1Api.__name__, config.load_kube_config.__name__)"
    )
    assert made.python(code) == "CoreV1Api load_kube_config\n"
    assert made.version().startswith("0 ")


def test_it_stays_small(bundle: Bundle) -> None:
    size = sum(path.stat().st_size for path in bundle.directory.rglob("*") if path.is_file())
    assert size < 30e6
