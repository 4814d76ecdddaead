"""What every command starts from: settings, a sheet, a deadline, a namespace to work in."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

from interceptor.cli.options import flag_values, settings_options
from interceptor.cli.output import Printer
from interceptor.cli.sources import read_settings, sheet_layer
from interceptor.errors import ConfigError, InterceptorError
from interceptor.layers import DEFAULTS, Layer, Resolved, resolve
from interceptor.settings import SETTINGS, Scope
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.backends.site import Site
    from interceptor.config import Config
    from interceptor.sheets.sheet import Sheet


class Session:
    """One run of one command."""

    def __init__(self, resolved: Resolved, sheet: Sheet) -> None:
        self.resolved = resolved
        self.config = resolved.config
        self.sheet = sheet
        self.printer = Printer(self.config.output)
        self.deadline = Deadline(self.config.timeout)

    @contextmanager
    def site(self, *, shared: bool = False) -> Iterator[Site]:
        """Enter the namespace, take its lock, and look around in it.

        With ``shared`` others may look at the same time, but nobody changes anything; there is
        time then to ask the kernel itself and not the tool that wrote the rules.
        """
        from interceptor.backends.site import Site
        from interceptor.system import lock

        self.enter_namespace()
        elsewhere = self.config.netns is not None
        with (
            lock.namespace_lock(self.deadline, shared=shared),
            lock.private_xtables_lock(needed=elsewhere) as legacy_lock,
        ):
            yield Site(
                self.sheet.dialect, self.deadline, legacy_lock=legacy_lock, in_process=shared
            )

    def enter_namespace(self) -> None:
        """Go where ``--netns`` says."""
        if self.config.netns is not None:
            from interceptor.system import netns

            descriptor = netns.open_path(self.config.netns)
            try:
                netns.enter(descriptor, self.config.netns)
            finally:
                os.close(descriptor)

    @property
    def place(self) -> str:
        """The namespace in words."""
        return self.config.netns or "this network namespace"

    def installed(self, site: Site) -> tuple[Config, Sheet, str]:
        """Give the policy to compare with: what this run says, else what was recorded.

        The third value says in words which it is.

        Raises:
            ConfigError: the record is of another version and has settings unknown here.
        """
        holders = site.holders()
        record = site.record(holders[0]) if holders else None
        if self.resolved.policy_given or record is None:
            given = "this command's settings" if self.resolved.policy_given else "the defaults"
            return self.config, self.sheet, given
        from interceptor.sheets import loader

        where = f"recorded by interceptor {record.version} at install"
        try:
            sheet = loader.load(record.settings.get("sheet", DEFAULTS.values["sheet"]))
            layer = Layer(record.settings, lambda key: f"{key}, {where}")
            config = resolve([DEFAULTS, sheet_layer(sheet), layer]).config
        except InterceptorError as error:
            raise ConfigError(
                error.message, hint="give the policy by flags or --config instead"
            ) from None
        here = {
            name: getattr(self.config, name)
            for name, row in SETTINGS.items()
            if row.scope is not Scope.POLICY
        }
        return msgspec.structs.replace(config, **here), sheet, "the record of the installation"


def command(
    name: str, scopes: tuple[Scope, ...], params: tuple[click.Parameter, ...] = ()
) -> Callable[[Callable[..., int]], click.Command]:
    """Make a click command of a function that takes a ``Session`` and gives an exit code.

    The function's docstring is the help; parameters of its own are passed by name.
    """

    def make(function: Callable[..., int]) -> click.Command:
        own = {str(param.name) for param in params}

        def run(**arguments: Any) -> int:
            flags = flag_values({k: v for k, v in arguments.items() if k not in own})
            resolved, sheet = read_settings(flags, arguments.get("config"), os.environ)
            session = Session(resolved, sheet)
            return function(session, **{key: arguments[key] for key in own})

        made = click.Command(
            name, callback=run, help=function.__doc__, params=list(params), no_args_is_help=False
        )
        return settings_options(*scopes)(made)

    return make
