"""An API server as a kubeconfig gives it, and single questions to it.

Of the Kubernetes client only what reads a kubeconfig and what speaks HTTP is used: its classes
for each kind of object take half a second to import, and one pod as JSON needs none of them. The
client leaves waiting and trying again to the caller, and a proxy that the environment names does
not matter: a runtime's environment is not the cluster's.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import msgspec

from interceptor.errors import HostError, UnreachableError
from interceptor.files import read_file

_MOST = 1 << 20
"""Bytes of a kubeconfig, and of a token."""
_MOST_ANSWER = 16 << 20
"""Bytes; etcd takes no object of more than 1.5 MB."""
_RUNS_PROGRAMS = ("exec", "auth-provider")
_FILES = ("certificate-authority", "client-certificate", "client-key")


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

    def __init__(self, kubeconfig: str) -> None:
        try:
            from kubernetes.client.rest import RESTClientObject
        except ImportError as error:
            raise HostError(
                f"pods cannot be looked up: Python has no {error.name}",
                hint="run interceptor cni install --kubernetes-lookup, "
                "or pip install 'interceptor[kubernetes]'",
            ) from None
        with ExitStack() as opened:
            configuration = _configuration(kubeconfig, opened)
            self.url: str = configuration.host
            self._token: str = _token(configuration)
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
            # A redirection is not followed: the token is for nobody else.
            response = self._pool.request(
                "GET",
                self.url + path,
                headers=headers,
                timeout=timeout_s,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            body: bytes = response.read(_MOST_ANSWER)
        except LocationValueError:
            raise NoAnswerError("that is no server's address", for_good=True) from None
        except HTTPError as error:
            raise _unreachable(error) from None
        except (HTTPException, OSError, ValueError) as error:
            # Such as a certificate that is no PEM, or a token that cannot be a header.
            raise NoAnswerError(_one_line(error), for_good=True) from None
        finally:
            self._opened.close()
        return Answer(int(response.status), body)


def _configuration(path: str, opened: ExitStack) -> Any:
    """Read a kubeconfig into what the client takes.

    Raises:
        UnreachableError: it cannot be used.
    """
    import yaml
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException
    from kubernetes.config.kube_config import KubeConfigLoader

    configuration = Configuration()
    configuration.proxy = configuration.no_proxy = None
    directory = os.path.dirname(path)
    try:
        content = yaml.safe_load(read_file(path, _MOST))
        for named in content["users"]:
            _read_token(named["user"], directory)
            _put_in_files(named["user"], opened)
        for named in content["clusters"]:
            _put_in_files(named["cluster"], opened)
        loader = KubeConfigLoader(content, config_base_path=directory)
        loader.load_and_set(configuration)
        # Where there is none the client itself would ask localhost.
        _check_address(loader.host)
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else path
        raise _unusable(path, f"{name}: {error.strerror or type(error).__name__}") from None
    except (ConfigException, yaml.YAMLError, ValueError) as error:
        raise _unusable(path, _one_line(error)) from None
    except (AttributeError, KeyError, TypeError):
        raise _unusable(path, "it is not laid out as one") from None
    return configuration


def _check_address(url: str) -> None:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"its server {url!r} is no https address")


def _put_in_files(section: dict[str, Any], opened: ExitStack) -> None:
    """Put what is written in a kubeconfig itself where TLS, which reads files, finds it.

    In memory: the client would write files to /tmp, keys too, and a plugin that is killed, or
    that ends as quickly as ours, leaves them there.
    """
    from base64 import b64decode

    for key in _FILES:
        if data := section.pop(f"{key}-data", None):
            file = opened.enter_context(os.fdopen(os.memfd_create(key), "wb", buffering=0))
            file.write(b64decode(data))
            section[key] = f"/proc/self/fd/{file.fileno()}"


def _read_token(user: dict[str, Any], directory: str) -> None:
    """Put the token of a file in the place of one that is written there, as kubectl does."""
    for key in _RUNS_PROGRAMS:
        if key in user:
            raise ValueError(f"it has {key}, and no program is run for a token")
    if "tokenFile" in user:
        token_path = os.path.join(directory, user["tokenFile"])
        user["token"] = read_file(token_path, _MOST).decode().strip()


def _token(configuration: Any) -> str:
    """Give the header that says who asks; its place differs between versions of the client."""
    settings: dict[str, Any] = configuration.auth_settings()
    return str(settings.get("BearerToken", {}).get("value") or "")


def _unusable(path: str, reason: str) -> UnreachableError:
    return UnreachableError(
        f"kubeconfig {path} cannot be used: {reason}",
        hint="it needs a server, its certificate authority, and a user with token or tokenFile",
    )


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
    return NoAnswerError(words or _one_line(deepest), for_good=False)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
