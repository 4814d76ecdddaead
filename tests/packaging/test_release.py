"""``make release-check`` finds what is not whole."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest

from interceptor import __version__
from tests.lab import release

_ROOT = Path(__file__).parent.parent.parent
_METADATA = f"interceptor-{__version__}.dist-info/METADATA"
_DESCRIBED = f"""\
Metadata-Version: 2.4
Name: interceptor
Version: {__version__}
Description-Content-Type: text/markdown

what it is
"""


def wheel(path: Path, *, without: str = "", **more: str) -> Path:
    """Write a wheel with the names of a whole one."""
    names = {f"interceptor/_rules/{sheet.name}": "" for sheet in (_ROOT / "rules").glob("*.toml")}
    names |= dict.fromkeys(
        (
            *("interceptor/_bpf/inbound.bpf.o", "interceptor/_bpf/interceptor.bpf.o"),
            *("interceptor/_launcher/launcher", "interceptor/_rules/bpf/decide.h"),
        ),
        "",
    )
    names |= {_METADATA: _DESCRIBED, **more}
    with zipfile.ZipFile(path, "w") as made:
        for name, text in names.items():
            if name != without:
                made.writestr(name, text)
    return path


def test_a_whole_wheel_is_whole(tmp_path: Path) -> None:
    assert "sheets" in release.wheel_is_whole(wheel(tmp_path / "it.whl"))


@pytest.mark.parametrize(
    "without",
    [
        "interceptor/_bpf/inbound.bpf.o",
        "interceptor/_rules/kuma.toml",
        "interceptor/_launcher/launcher",
    ],
)
def test_what_a_wheel_lacks_is_named(tmp_path: Path, without: str) -> None:
    with pytest.raises(release.NotWholeError, match=re.escape(without)):
        release.wheel_is_whole(wheel(tmp_path / "it.whl", without=without))


def test_a_wheel_with_tests_in_it_is_not_whole(tmp_path: Path) -> None:
    made = wheel(tmp_path / "it.whl", **{"tests/conftest.py": ""})
    with pytest.raises(release.NotWholeError, match=r"has tests/conftest\.py"):
        release.wheel_is_whole(made)


def test_metadata_an_index_would_not_take(tmp_path: Path) -> None:
    made = wheel(
        tmp_path / "it.whl", **{_METADATA: _DESCRIBED.replace("Version: 0", "Version: x")}
    )
    with pytest.raises(ExceptionGroup, match="metadata"):
        release.wheel_is_whole(made)


@pytest.mark.parametrize(("name", "pattern"), release._SAYS_VERSION)
def test_each_place_of_the_version_is_looked_at(tmp_path: Path, name: str, pattern: str) -> None:
    for said, _ in release._SAYS_VERSION:
        (tmp_path / said).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_ROOT / said, tmp_path / said)
    assert release.every_file_says_one_version(tmp_path) == __version__
    text = (tmp_path / name).read_text()
    found = re.search(pattern, text, re.MULTILINE)
    assert found
    changed = text[: found.start(1)] + "9.9.9" + text[found.end(1) :]
    (tmp_path / name).write_text(changed)
    with pytest.raises(release.NotWholeError, match=rf"{re.escape(name)} says 9\.9\.9"):
        release.every_file_says_one_version(tmp_path)
