"""``python3 -m images.assemble IMAGE WHEELS ROOT``, see the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from images.assemble import bill, debian, libraries, python
from images.assemble.recipe import Recipe, read
from images.assemble.tree import PROGRAM, Tree

BILL = "usr/share/sbom"
_XTABLES = ("libxt_*.so", "libipt_*.so", "libip6t_*.so")
_COPYRIGHT = "usr/share/doc/{}/copyright"
_OURS = {
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": "root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\n",
}
"""Accounts are looked up in these two and nowhere else."""


def _take(tree: Tree, known: debian.Debian, path: str) -> None:
    """Take a file of this Debian; of a link, also what it points at."""
    path = debian.merged(path)
    owner = known.owner(path).name
    there = debian.on_disk(path)
    if there.is_symlink():
        tree.links[path] = str(there.readlink())
        _take(tree, known, os.path.realpath(there))
        return
    mode = PROGRAM if there.stat().st_mode & 0o100 else 0o644
    tree.add(path, there.read_bytes(), owner, mode)


def _from_debian(tree: Tree, recipe: Recipe, known: debian.Debian) -> None:
    for path in recipe.programs:
        _take(tree, known, path)
    # iptables-nft-save and the like, and python3.
    names = {f"/{program}" for program in recipe.programs}
    for directory in ("usr/bin", "usr/sbin"):
        for entry in sorted(Path("/", directory).iterdir()):
            owned = str(entry).lstrip("/") in known.owners
            if entry.is_symlink() and owned and os.path.realpath(entry) in names:
                tree.links[str(entry).lstrip("/")] = str(entry.readlink())
    for pattern in _XTABLES:
        for module in sorted(Path("/usr/lib").glob(f"*/xtables/{pattern}")):
            _take(tree, known, str(module).lstrip("/"))
    for path, content in python.library(recipe):
        python.add_module(tree, recipe, path, content, known.owner(path).name)


def _linked(tree: Tree, recipe: Recipe, known: debian.Debian, scratch: Path) -> None:
    """Take what all that is there needs to be loaded."""
    scratch.mkdir()
    asked = [*libraries.by_name(recipe.by_name)]
    for path, file in tree.files.items():
        if libraries.is_linked(file.content):
            # A library of a wheel is nowhere yet.
            where = scratch / path.replace("/", "_")
            where.write_bytes(file.content)
            asked.append(str(where))
    found = {*libraries.by_name(recipe.by_name), *libraries.needed(asked), libraries.loader()}
    for path in sorted(found):
        _take(tree, known, path.lstrip("/"))


def main() -> None:
    """Assemble one image's files."""
    name, wheels, root = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    time_s = int(os.environ["SOURCE_DATE_EPOCH"])
    recipe, known, tree = read(name), debian.read(), Tree()
    _from_debian(tree, recipe, known)
    packages = [
        python.add_wheel(tree, recipe, file)
        for file in sorted(wheels.glob("*.whl"))
        if file.name.partition("-")[0].replace("_", "-") not in recipe.wheels_without
    ]
    _linked(tree, recipe, known, root.with_name("scratch"))
    for path, text in _OURS.items():
        tree.add(path, text.encode(), "")
    tree.add("usr/bin/interceptor", python.PROGRAM.encode(), "", PROGRAM)
    taken = {file.owner for file in tree.files.values()} & set(known.packages)
    strangers, idle = taken - recipe.debian, recipe.debian - taken
    if strangers or idle:
        sys.exit(
            f"images/recipe.toml: {name} takes files of packages that are not listed: "
            f"{sorted(strangers)}, and none of some that are: {sorted(idle)}"
        )
    for package in sorted(taken):
        file = Path("/", _COPYRIGHT.format(package))
        if file.is_file():
            tree.add(_COPYRIGHT.format(package), file.read_bytes(), package)
    (version,) = (one.version for one in packages if one.name == "interceptor")
    items = [bill.of_debian(known.packages[package]) for package in sorted(taken)]
    items += [bill.of_wheel(one) for one in packages]
    said = bill.bill(tree, bill.of_image(f"interceptor-{name}", version), items, time_s)
    tree.add(f"{BILL}/interceptor-{name}.spdx.json", said, "")
    tree.write(root, time_s)


if __name__ == "__main__":
    main()
