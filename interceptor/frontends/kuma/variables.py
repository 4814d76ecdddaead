"""The variables of Kuma's options, which are named as the keys of its configuration files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from interceptor.frontends.option import Option

ENVIRONMENT_PREFIX = "KUMA_TRANSPARENT_PROXY_"


def variable(path: str) -> str:
    """Name the variable of a key: ``redirect.dns.captureAll`` is ``..._REDIRECT_DNS_CAPTURE_ALL``.

    Kuma's abbreviations count as words, in the plural too.
    """
    plain = re.sub("IPs|UIDs|DP(?=User)|IP(?=Env)", lambda found: found.group().capitalize(), path)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain.replace("-", "_").replace(".", "_"))
    return f"{ENVIRONMENT_PREFIX}{words.upper()}"


def in_files(*rows: Option) -> tuple[Option, ...]:
    """Give rows that have a path its variable; one without a flag is called by its path."""
    return tuple(
        msgspec.structs.replace(
            row,
            key=row.key or row.path,
            by_flag=bool(row.key),
            also=(variable(row.path),) if row.path else (),
        )
        for row in rows
    )
