"""What every command starts from: settings, a sheet, a deadline, a namespace to work in."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from interceptor.cli.options import flag_values, settings_options
from interceptor.cli.output import Printer
from interceptor.errors import ConfigError, InterceptorError
from interceptor.sources import read_settings
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.layers import Resolved
    from interceptor.operations.policy import Policy
    from interceptor.operations.site import Site
    from interceptor.settings import Scope
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
        from interceptor.operations.site import Site
        from interceptor.system import lock
        from interceptor.system.command import ended_in_order

        self.enter_namespace()
        elsewhere = self.config.is_elsewhere
        with (
            ended_in_order(),
            lock.namespace_lock(self.deadline, shared=shared) as locked,
            lock.private_xtables_lock(needed=elsewhere) as legacy_lock,
        ):
            if not locked:
                self.printer.talk("somebody holds this namespace's lock; looking without it")
            yield Site(
                self.deadline,
                legacy_lock=legacy_lock,
                in_process=shared,
                is_own=not elsewhere,
                loader=self.config.ebpf_loader,
            )

    def enter_namespace(self) -> None:
        """Go where ``--netns`` says."""
        if self.config.is_elsewhere:
            from interceptor.system import netns

            descriptor = netns.open_path(self.config.netns)
            try:
                netns.enter(descriptor, self.config.netns)
            finally:
                os.close(descriptor)

    @property
    def place(self) -> str:
        """The namespace in words."""
        return self.config.netns if self.config.is_elsewhere else "this network namespace"

    def in_time(self, doing: str) -> Callable[[], object]:
        """Give a function that raises ``DeadlineError`` once ``--timeout`` is over."""
        return lambda: self.deadline.remaining(doing)

    def policy(self, site: Site) -> Policy:
        """Give the policy to compare with: what this run says, else what was recorded."""
        from interceptor.operations.policy import installed_policy

        return installed_policy(self.resolved, self.sheet, site)


@contextmanager
def told_as(session: Session) -> Iterator[None]:
    """Have errors say where a setting stood, and be printed in the form of the answers."""
    try:
        yield
    except InterceptorError as error:
        told = error
        if isinstance(error, ConfigError) and error.key:
            told = error.at(session.resolved.origins[error.key])
        told.as_json = session.printer.is_json
        raise told from error.__cause__


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
            resolved, sheet = read_settings(
                flags, arguments.get("config"), os.environ, frozenset(scopes)
            )
            session = Session(resolved, sheet)
            with told_as(session):
                return function(session, **{key: arguments[key] for key in own})

        made = click.Command(
            name, callback=run, help=function.__doc__, params=list(params), no_args_is_help=False
        )
        return settings_options(*scopes)(made)

    return make
