"""What a tool's options come to: settings of ours, and the options of a sheet among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Worth(msgspec.Struct, frozen=True):
    """A text, and what errors call the place it is from."""

    text: str
    origin: str


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """What to install.

    Args:
        settings: by name, as text.
        options: of the sheet, likewise.
        run: settings about this run alone, which go before the others.
        notes: what a person should know.
    """

    settings: Mapping[str, Worth]
    options: Mapping[str, Worth] = {}
    run: Mapping[str, Worth] = {}
    notes: tuple[str, ...] = ()

    def texts(self) -> dict[str, str]:
        """Give all settings as text, the options of the sheet joined."""
        found = {name: worth.text for name, worth in self._all.items()}
        if self.options:
            pairs = (f"{name}={worth.text}" for name, worth in self.options.items())
            found["options"] = ";".join(pairs)
        return found

    def origins(self) -> dict[str, str]:
        """Name the places of settings, for errors."""
        found = {name: worth.origin for name, worth in self._all.items()}
        of_options = dict.fromkeys(worth.origin for worth in self.options.values())
        return found | {"options": ", ".join(of_options)}

    @property
    def _all(self) -> dict[str, Worth]:
        return {**self.settings, **self.run}
