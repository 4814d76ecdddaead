"""What is to go into an image, as images/recipe.toml says it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    """One image; the fields are those of the file, where each is explained."""

    name: str
    description: str
    limit_mb: int
    sources: bool
    programs: tuple[str, ...]
    by_name: tuple[str, ...]
    debian: frozenset[str]
    library_without: tuple[str, ...]
    wheels_without: frozenset[str]
    packages_without: tuple[str, ...]


def read(name: str) -> Recipe:
    """Read one image's recipe.

    Raises:
        KeyError: there is none of this name, or something of it is missing.
    """
    text = Path(__file__).parent.with_name("recipe.toml").read_text()
    said = tomllib.loads(text)[name]
    return Recipe(
        name=name,
        description=said["description"],
        limit_mb=said["limit_mb"],
        sources=said["sources"],
        programs=tuple(said["programs"]),
        by_name=tuple(said["by_name"]),
        debian=frozenset(said["debian"]),
        library_without=tuple(said["library_without"]),
        wheels_without=frozenset(said["wheels_without"]),
        packages_without=tuple(said["packages_without"]),
    )
