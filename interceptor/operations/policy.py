"""What was meant: the policy of an installation, from its record or from whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import ConfigError, InterceptorError
from interceptor.layers import DEFAULTS, Layer, Resolved, resolve
from interceptor.operations.site import left_by
from interceptor.settings import SETTINGS, Scope
from interceptor.sheets import loader
from interceptor.sources import sheet_layer

if TYPE_CHECKING:
    from interceptor.config import Config
    from interceptor.operations.site import Site
    from interceptor.record import Record
    from interceptor.sheets.sheet import Sheet


class Policy(msgspec.Struct, frozen=True):
    """A configuration, its sheet, and in words where they come from."""

    config: Config
    sheet: Sheet
    origin: str


def installed_policy(resolved: Resolved, sheet: Sheet, site: Site) -> Policy:
    """Give what this run says, else what was recorded at install, else the defaults.

    A sheet alone says nothing yet: it is laid below the recorded settings. A recorded sheet is
    used only if it is one of ours. Whoever is root in a pod can write a record, and must not
    choose what a node's root opens.

    Raises:
        ConfigError: the record is of another version, or of a sheet that has to be given.
    """
    holders = site.holders()
    record = site.record(holders[0]) if holders else None
    if resolved.policy_given:
        return Policy(resolved.config, sheet, "this command's settings")
    if "sheet" in resolved.given and record is None:
        return Policy(resolved.config, sheet, f"the defaults of the sheet {sheet.name}")
    owned = [site.own(name) for name in holders if record is None]
    for mesh, left in ((mesh, own) for own in owned for mesh in left_by(own)):
        from interceptor.backends.generations import sheet_left

        raise ConfigError(
            f"rules of {mesh.tool} are here, and nothing says what they were made from",
            hint=f"say it: --sheet {sheet_left(mesh, left)} and its settings; "
            "or install anew: it replaces them",
        )
    if record is None:
        return Policy(resolved.config, sheet, "the defaults")
    return _recorded(record, resolved, sheet)


def _recorded(record: Record, resolved: Resolved, sheet: Sheet) -> Policy:
    where = f"recorded by interceptor {record.version} at install"
    name = record.settings.get("sheet", DEFAULTS.values["sheet"])
    if "sheet" in resolved.given:
        name = resolved.config.sheet
    elif loader.is_path(name):
        raise ConfigError(
            f"what is installed was made from the sheet {name!r}",
            hint="give it with --sheet; a record is not trusted to name files",
        )
    else:
        sheet = loader.load(name)
    layer = Layer({**record.settings, "sheet": name}, lambda key: f"{key}, {where}")
    try:
        config = resolve([DEFAULTS, sheet_layer(sheet), layer]).config
    except InterceptorError as error:
        raise ConfigError(
            error.message, hint="give the policy by flags or --config instead"
        ) from None
    run = {
        name: getattr(resolved.config, name)
        for name, row in SETTINGS.items()
        if row.scope is not Scope.POLICY
    }
    config = msgspec.structs.replace(config, **run)
    return Policy(config, sheet, "the record of the installation")
