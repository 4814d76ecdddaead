"""A row of the tables of those tools whose options are read one by one as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.errors import ConfigError
from interceptor.frontends.reading import switch, text_as_it_is
from interceptor.frontends.row import Row
from interceptor.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable


class Option(Row, frozen=True, kw_only=True):
    """One option of a tool, or one of ours beside them.

    Args:
        read: puts a text plainly; ``ValueError`` with half a sentence if it is none. If nothing
            is said, switches are read as Go's, and all else is text.
        repeated: whether each use adds to those before, and not takes their place.
        by_flag: whether it can be given on the command line.
        path: its key in the tool's configuration files, tables joined by dots.
        lacks: why it cannot be done here. Whoever wants it is told so, by its name.
        instead: what to do then.
        idle: why it has no effect here, for whoever gives it; nothing if nobody has to know.
        ours: the setting of ours it is, where the tool knows nothing of it.
    """

    read: Callable[[str], str] | None = None
    repeated: bool = False
    by_flag: bool = True
    path: str = ""
    lacks: str = ""
    instead: str = ""
    idle: str = ""
    ours: str = ""

    @property
    def is_flag(self) -> bool:
        """Whether it can be given on the command line."""
        return self.by_flag

    def plain(self, text: str, origin: str) -> str:
        """Put a text plainly.

        Raises:
            ConfigError: it is none, or it asks for what cannot be done here.
        """
        try:
            plain = (self.read or (switch if self.is_switch else text_as_it_is))(text)
        except ValueError as error:
            hint = "write true or false" if self.is_switch else self.help
            raise ConfigError(f"{origin}: {error}", hint=hint) from None
        if self.lacks and plain != self.unset:
            raise ConfigError(f"{origin}: {self.lacks}", hint=self.instead)
        return plain


HELP = Option(key="help", short="h", kind="", help="show this and exit")


def ours(*names: str) -> tuple[Option, ...]:
    """Give options of the names of our settings, with our variables, beside a tool's own."""
    return (
        *(
            Option(
                key=SETTINGS[name].flag.removeprefix("--"),
                kind=SETTINGS[name].metavar,
                help=SETTINGS[name].help,
                also=(SETTINGS[name].environment,),
                ours=name,
            )
            for name in names
        ),
        HELP,
    )
