"""An API server as a kubeconfig gives it, and single questions to it.

Of the Kubernetes client only what reads a kubeconfig and what speaks HTTP is used: its classes
for each kind of object take half a second to import, and one pod as JSON needs none of them. The
client leaves waiting and trying again to the caller, and a proxy that the environment names does
not matter: a runtime's environment is not the cluster's.
"""

from __future__ import annotations

from contextlib import ExitStack

import msgspec

from interceptor.cni import kubeconfig
from interceptor.errors import HostError

_MOST = 16 << 20
"""Bytes; etcd takes no object of more than 1.5 MB."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP status and what came with it."""

    status: int
    body: bytes


class NoAnswerError(Exception):
    """No answer came; its text is why, as half a sentence.

    Args:
        for_good: whether asking again cannot help.
    """

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.for_good = for_good


class ApiServer:
    """Where an API server is, and as whom it is asked, once.

    The kubeconfig and the files it names are read once, when this is made.

    Raises:
        HostError: the Kubernetes client is not installed.
        UnreachableError: the kubeconfig cannot be used.
    """

    def __init__(self, path: str) -> None:
        try:
            from kubernetes.client.rest import RESTClientObject
        except ImportError as error:
            raise HostError(
                f"pods cannot be looked up: Python has no {error.name or error}",
                hint="run interceptor cni install with --kubeconfig-file, "
                "or pip install 'interceptor[kubernetes]'",
            ) from None
        with ExitStack() as opened:
            configuration = kubeconfig.read(path, opened)
            self.url: str = configuration.host
            self._token: str = kubeconfig.header(configuration)
            self._pool = RESTClientObject(configuration).pool_manager
            opened.callback(self._pool.clear)
            self._opened = opened.pop_all()

    def get(self, path: str, timeout_s: float) -> Answer:
        """Ask, and forget what was needed for that.

        Args:
            path: what for, from the first slash on.
            timeout_s: for connecting, and for each part of the answer.

        Raises:
            NoAnswerError: there was no answer.
        """
        from http.client import HTTPException

        from urllib3.exceptions import HTTPError, LocationValueError

        headers = {"Accept": "application/json", "User-Agent": "interceptor-cni"}
        if self._token:
            headers["Authorization"] = self._token
        try:
            # Without retries no redirection is followed either: the token is for nobody else.
            response = self._pool.request(
                "GET",
                self.url + path,
                headers=headers,
                timeout=timeout_s,
                retries=False,
                preload_content=False,
            )
            body: bytes = response.read(_MOST)
        except LocationValueError:
            raise NoAnswerError("that is no server's address", for_good=True) from None
        except HTTPError as error:
            raise _unreachable(error) from None
        except (HTTPException, OSError, ValueError) as error:
            # Such as a certificate that is no PEM, or a token that cannot be a header.
            raise NoAnswerError(kubeconfig.one_line(error), for_good=True) from None
        finally:
            self._opened.close()
        return Answer(int(response.status), body)


def _unreachable(error: BaseException) -> NoAnswerError:
    """Make the reason of what lies deepest: the kernel's or TLS's own words."""
    deepest = error
    while True:
        within = getattr(deepest, "reason", None)
        if not isinstance(within, BaseException):
            within = deepest.__cause__ or deepest.__context__
        if within is None:
            break
        deepest = within
    distrust = getattr(deepest, "verify_message", "")
    if distrust:
        return NoAnswerError(f"its certificate is not trusted: {distrust}", for_good=True)
    if isinstance(deepest, TimeoutError) or "Timeout" in type(error).__name__:
        return NoAnswerError("it does not answer", for_good=False)
    words = deepest.strerror if isinstance(deepest, OSError) else ""
    return NoAnswerError(words or kubeconfig.one_line(deepest), for_good=False)
