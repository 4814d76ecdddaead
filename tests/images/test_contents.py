"""What is in the images: all that is needed, nothing that is not, and a bill that says so."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from images.assemble.recipe import read
from tests.lab.images import INIT, LABELS, Image, built_again, built_by_containerfile

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # whoever is first builds

_SHELLS = re.compile(r"/(\w*sh|busybox|toybox|perl|env|xargs|awk|apt.*|dpkg.*)$")


def _members(image: Image) -> dict[str, tarfile.TarInfo]:
    found: dict[str, tarfile.TarInfo] = {}
    for layer in image.layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as files:
            found |= {member.name.strip("/"): member for member in files}
    return found


def _contents(image: Image) -> dict[str, bytes]:
    found = {}
    for layer in image.layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as files:
            for member in files:
                if member.isreg():
                    file = files.extractfile(member)
                    assert file
                    found[member.name.strip("/")] = file.read()
    return found


def _bill(image: str, contents: dict[str, bytes]) -> Any:
    return json.loads(contents[f"usr/share/sbom/{image}.spdx.json"])


def test_size(image: tuple[str, Image]) -> None:
    name, made = image
    recipe = read(name.removeprefix("interceptor-"))
    assert sum(len(content) for content in _contents(made).values()) < recipe.limit_mb * 1e6


def test_nobody_finds_a_shell_in_it(image: tuple[str, Image]) -> None:
    members = _members(image[1])
    assert [name for name in members if _SHELLS.search(f"/{name}")] == []
    # All that can be started.
    programs = {name for name, m in members.items() if m.isreg() and "bin/" in name}
    assert programs == {
        "usr/bin/interceptor",
        "usr/bin/python3.11",
        "usr/sbin/nft",
        "usr/sbin/xtables-legacy-multi",
        "usr/sbin/xtables-nft-multi",
    }


def test_no_file_is_anybodys_but_roots_nor_more_than_it_has_to_be(
    image: tuple[str, Image],
) -> None:
    for member in _members(image[1]).values():
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert member.mtime == int(LABELS["SOURCE_DATE_EPOCH"])
        if member.isreg():
            assert member.mode & 0o7777 in (0o644, 0o755), member.name


def test_every_link_leads_somewhere(image: tuple[str, Image]) -> None:
    members = _members(image[1])
    roots = {name: m.linkname for name, m in members.items() if m.issym() and "/" not in name}
    for name, member in members.items():
        if member.issym():
            below = os.path.join("/", os.path.dirname(name), member.linkname)
            top, _, rest = os.path.normpath(below).lstrip("/").partition("/")
            aim = os.path.join(roots.get(top, top), rest).rstrip("/")
            assert aim in members, (name, member.linkname)


def test_labels(image: tuple[str, Image]) -> None:
    name, made = image
    config = made.config["config"]
    assert config["Labels"] | {"io.buildah.version": ""} == {
        "dev.interceptor.sbom": f"/usr/share/sbom/{name}.spdx.json",
        "io.buildah.version": "",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.revision": LABELS["REVISION"],
        "org.opencontainers.image.source": LABELS["SOURCE"],
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": LABELS["VERSION"],
    }
    assert config["Entrypoint"] == ["/usr/bin/interceptor"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "0:0"


def test_the_bill_lists_exactly_what_is_there(image: tuple[str, Image], images: Path) -> None:
    name, made = image
    contents = _contents(made)
    bill = _bill(name, contents)
    assert (images / f"{name}.spdx.json").read_bytes() == contents.pop(
        f"usr/share/sbom/{name}.spdx.json"
    )
    said = {
        file["fileName"].removeprefix("./"): {
            one["algorithm"]: one["checksumValue"] for one in file["checksums"]
        }["SHA256"]
        for file in bill["files"]
    }
    assert said == {path: hashlib.sha256(text).hexdigest() for path, text in contents.items()}


def test_each_file_in_the_bill_is_of_one_package_and_each_package_has_some(
    image: tuple[str, Image],
) -> None:
    name, made = image
    bill = _bill(name, _contents(made))
    files = {file["SPDXID"] for file in bill["files"]}
    contains = [
        (one["spdxElementId"], one["relatedSpdxElement"])
        for one in bill["relationships"]
        if one["relationshipType"] == "CONTAINS"
    ]
    assert sorted(inner for _, inner in contains if inner in files) == sorted(files)
    packages = {one["SPDXID"]: one for one in bill["packages"]}
    assert {outer for outer, inner in contains if inner in files} == set(packages)
    debian = {
        one["name"]
        for one in packages.values()
        if one["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/debian/")
    }
    assert debian == read(name.removeprefix("interceptor-")).debian
    assert all(one["versionInfo"] for one in packages.values())
    assert {"msgspec", "click", "interceptor"} <= {one["name"] for one in packages.values()}


def test_who_builds_it_again_builds_the_same_bytes(images: Path, tmp_path: Path) -> None:
    again = built_again(tmp_path)
    for file in ("interceptor-init", "interceptor-cni"):
        assert Image(again / f"{file}.tar").digest == Image(images / f"{file}.tar").digest


def test_who_has_a_registry_builds_the_same_bytes(images: Path, tmp_path: Path) -> None:
    """The Containerfile brings what a plain Debian lacks; how it got there is not in the image."""
    made = built_by_containerfile(tmp_path, "init")
    assert Image(made).digest == Image(images / f"{INIT}.tar").digest
