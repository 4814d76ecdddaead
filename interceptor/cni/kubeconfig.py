"""A kubeconfig, read into what the Kubernetes client takes, and nothing of it written anywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from interceptor.errors import UnreachableError
from interceptor.files import read_file

if TYPE_CHECKING:
    from contextlib import ExitStack

_MOST = 1 << 20
"""Bytes of a kubeconfig, and of a token."""
_RUNS_PROGRAMS = ("exec", "auth-provider")
_FILES = ("certificate-authority", "client-certificate", "client-key")


def read(path: str, opened: ExitStack) -> Any:
    """Give the client's configuration.

    Args:
        path: of the kubeconfig; files it names are looked for beside it.
        opened: takes what must stay open as long as the configuration is used.

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
        raise _unusable(path, one_line(error)) from None
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


def header(configuration: Any) -> str:
    """Give the header that says who asks; its place differs between versions of the client."""
    settings: dict[str, Any] = configuration.auth_settings()
    return str(settings.get("BearerToken", {}).get("value") or "")


def _unusable(path: str, reason: str) -> UnreachableError:
    return UnreachableError(
        f"kubeconfig {path} cannot be used: {reason}",
        hint="it needs a server, its certificate authority, and a user with token or tokenFile",
    )


def one_line(error: BaseException) -> str:
    """Give what an error says, short and without its line breaks."""
    return " ".join(str(error).split())[:300] or type(error).__name__
