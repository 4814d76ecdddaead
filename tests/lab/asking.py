"""What tests of the look-up have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.cni.lookup import look_up
from interceptor.errors import UnreachableError
from tests.lab.api_server import FakeApiServer, kubeconfig

if TYPE_CHECKING:
    from interceptor.cni.netconf import Lookup


def configure(lookup: Lookup, server: FakeApiServer | str, authority: Path | None = None) -> None:
    """Write its kubeconfig: that server's, with the token of the file beside."""
    url = server if isinstance(server, str) else server.url
    kubeconfig(Path(lookup.kubeconfig), url, {"tokenFile": "token"}, authority)


def refusal(lookup: Lookup) -> UnreachableError:
    """Give the error of a look-up, which has to fail with one line that people can read."""
    with pytest.raises(UnreachableError) as caught:
        look_up(lookup, "shop", "web")
    message = caught.value.message
    assert "\n" not in message
    assert "urllib3" not in message
    assert " at 0x" not in message
    return caught.value
