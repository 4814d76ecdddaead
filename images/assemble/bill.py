"""The bill of materials: every file and whose it is, in SPDX 2.3 as JSON.

https://spdx.github.io/spdx-spec/v2.3/
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from images.assemble.debian import Package
    from images.assemble.python import Wheel
    from images.assemble.tree import File, Tree

_NOBODY = "NOASSERTION"


@dataclass(frozen=True)
class Item:
    """A package in the bill: ``owner`` is what its files are marked with."""

    owner: str
    name: str
    version: str
    purl: str
    supplier: str
    licence: str = _NOBODY
    digest: str = ""


def of_debian(package: Package) -> Item:
    """Give a Debian package's item."""
    which = f"arch={package.architecture}&distro=debian-12"
    purl = f"pkg:deb/debian/{package.name}@{package.version}?{which}"
    return Item(package.name, package.name, package.version, purl, "Organization: Debian")


def of_wheel(wheel: Wheel) -> Item:
    """Give a Python package's item."""
    purl = f"pkg:pypi/{wheel.name.lower()}@{wheel.version}"
    return Item(wheel.name, wheel.name, wheel.version, purl, _NOBODY, wheel.licence, wheel.digest)


def of_image(name: str, version: str) -> Item:
    """Give the item of the image, whose own few files are of no package."""
    purl = f"pkg:oci/{name}@{version}"
    return Item("", name, version, purl, "Organization: The interceptor authors", "Apache-2.0")


def bill(tree: Tree, image: Item, items: Sequence[Item], time_s: int) -> bytes:
    """Write it; it is not in itself."""
    whole = [image, *items]
    files = sorted(tree.files.items())
    numbers = {path: f"SPDXRef-File-{n}" for n, (path, _) in enumerate(files)}
    owned = {item.owner: [(p, f) for p, f in files if f.owner == item.owner] for item in whole}
    relations = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", _id(image))]
    relations += [_relation(_id(image), "CONTAINS", _id(item)) for item in items]
    relations += [
        _relation(_id(item), "CONTAINS", numbers[path])
        for item in whole
        for path, _ in owned[item.owner]
    ]
    said: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{image.name}-{image.version}",
        "creationInfo": {
            "created": datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: interceptor-images"],
        },
        "packages": [_package(item, owned[item.owner]) for item in whole],
        "files": [_file(numbers[path], path, file) for path, file in files],
        "relationships": relations,
    }
    # A name nobody else gives, and everybody gives who builds the same.
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    said["documentNamespace"] = f"https://spdx.org/spdxdocs/{said['name']}-{digest}"
    return json.dumps(said, indent=1).encode() + b"\n"


def _id(item: Item) -> str:
    kind = item.purl.partition("/")[0].removeprefix("pkg:")
    return f"SPDXRef-{kind}-{re.sub(r'[^A-Za-z0-9.-]', '-', item.name)}"


def _relation(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}


def _package(item: Item, files: Sequence[tuple[str, File]]) -> dict[str, Any]:
    digests = sorted(_sha1(file.content) for _, file in files)
    said: dict[str, Any] = {
        "SPDXID": _id(item),
        "name": item.name,
        "versionInfo": item.version,
        "supplier": item.supplier,
        "downloadLocation": _NOBODY,
        "filesAnalyzed": True,
        "packageVerificationCode": {
            "packageVerificationCodeValue": _sha1("".join(digests).encode())
        },
        "licenseConcluded": _NOBODY,
        "licenseDeclared": item.licence,
        "licenseInfoFromFiles": [_NOBODY],
        "copyrightText": _NOBODY,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": item.purl,
            }
        ],
    }
    if item.digest:
        said["checksums"] = [{"algorithm": "SHA256", "checksumValue": item.digest}]
    return said


def _file(number: str, path: str, file: File) -> dict[str, Any]:
    return {
        "SPDXID": number,
        "fileName": f"./{path}",
        "checksums": [
            {"algorithm": "SHA1", "checksumValue": _sha1(file.content)},
            {
                "algorithm": "SHA256",
                "checksumValue": hashlib.sha256(file.content).hexdigest(),
            },
        ],
        "licenseConcluded": _NOBODY,
        "licenseInfoInFiles": [_NOBODY],
        "copyrightText": _NOBODY,
    }


def _sha1(content: bytes) -> str:
    """SPDX names files by it; nothing is kept safe by it."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
