"""Options of ``interceptor cni``; each is an environment variable ``INTERCEPTOR_CNI_...`` too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from interceptor.cni.netconf import STATE_DIRECTORY
from interceptor.errors import UsageError
from interceptor.layers import unknown_key
from interceptor.node.installation import BIN_DIR, CONF_DIR, READY_FILE
from interceptor.node.kubeconfig import SERVICE_ACCOUNT
from interceptor.node.pods import NETNS_DIRECTORY
from interceptor.node.results import CACHE_DIRECTORY
from interceptor.sources import CNI_PREFIX, is_service_link

if TYPE_CHECKING:
    from collections.abc import Mapping

LISTEN, LISTEN_OFF = "127.0.0.1:15015", "off"
"""Only for the node itself: its network is everybody's. The port is none of Istio's."""

_SELECTOR = (
    "which pods are meshed: terms of annotations, joined by commas, as "
    "interceptor.dev/inject=true; * is every pod. May be given again: any of them will do"
)
_KNOWN: set[str] = set()


def option(
    name: str, metavar: str, text: str, default: object = None, **more: Any
) -> click.Option:
    """Make an option whose value can also be in the environment.

    Args:
        name: of the flag, without dashes before it.
        metavar: what stands for the value in the help; ``""`` for a switch.
        text: its help, half a sentence.
        default: its value if it is not given; told in the help, unless it is ``None``.
        more: what else click is to know.
    """
    variable = CNI_PREFIX + name.replace("-", "_").upper()
    _KNOWN.add(variable)
    told = "" if default is None or not metavar else f"  [default: {default}]"
    return click.Option(
        [f"--{name}"],
        envvar=variable,
        metavar=metavar or None,
        is_flag=not metavar,
        help=text + told,
        default=([default] if more.get("multiple") and default else default) if metavar else False,
        **more,
    )


PLACES = (
    option("bin-dir", "DIR", "where the runtime looks for plugins", BIN_DIR),
    option("conf-dir", "DIR", "where it looks for network configurations", CONF_DIR),
    option(
        "host-root",
        "DIR",
        "where this process sees the node's root; all other paths are the node's own",
        "/",
    ),
)
"""Where things are on the node."""

ENTRY = (
    option("settings", "FILE", "settings for all pods, in a file as --config takes it"),
    option("selector", "TERMS", _SELECTOR, multiple=True),
    option(
        "exclude-namespace",
        "NAME",
        "a namespace whose pods are never meshed; may be given again",
        multiple=True,
    ),
    option("state-dir", "DIR", f"where the plugin keeps its state  [default: {STATE_DIRECTORY}]"),
    option("log-file", "FILE", "where the plugin writes a line for each call"),
    option(
        "log-max-bytes",
        "BYTES",
        "how large that may become  [default: 10485760]",
        type=click.IntRange(min=1),
    ),
    option(
        "fail-closed",
        "",
        "after a reboot, have meshed pods wait until the installation was looked at",
    ),
    option("ready-file", "FILE", "what says so; a reboot must remove it", READY_FILE),
    option("kubeconfig-file", "FILE", "have pods looked up, with a kubeconfig that is made there"),
    option(
        "lookup-timeout",
        "SECONDS",
        "how long a look-up may take  [default: 5]",
        type=click.FloatRange(min=0, min_open=True),
    ),
    option("lookup-always", "", "look each pod up, for what its annotations do not say"),
)
"""What the plugin is told."""

ACCOUNT = option(
    "service-account-dir",
    "DIR",
    "where this process finds the token for --kubeconfig-file",
    SERVICE_ACCOUNT,
)

LISTENER = option(
    "listen",
    "ADDR:PORT",
    f"where the agent answers /healthz, /readyz, /livez, /metrics; or {LISTEN_OFF}",
    LISTEN,
)

AGENT = (
    option("watch", "", "stay, and put right at once whatever changes"),
    option(
        "interval",
        "SECONDS",
        "with --watch, look after so long even if nothing seems to have changed",
        30,
        type=click.FloatRange(min=0.1),
    ),
    LISTENER,
    option("remove-on-exit", "", "with --watch, uninstall when told to end"),
    option(
        "pods-interval",
        "SECONDS",
        "with --watch, look over the node's pods so often; 0 is never",
        300,
        type=click.FloatRange(min=0),
    ),
    option("repair", "", "install again what pods lack; with --watch, at each such look"),
)
"""How the agent behaves."""

PODS = (
    option(
        "netns-dir",
        "DIR",
        "where runtimes keep namespaces open; may be given again",
        NETNS_DIRECTORY,
        multiple=True,
    ),
    option("cache-dir", "DIR", "where runtimes remember what CNI added", CACHE_DIRECTORY),
)
"""Where pods are found."""

REPAIR = AGENT[-1]

_PATHS = (
    "bin_dir",
    "conf_dir",
    "host_root",
    "cache_dir",
    "state_dir",
    "log_file",
    "ready_file",
    "kubeconfig_file",
    "service_account_dir",
)


def check(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> None:
    """Refuse what is no option, and paths that mean something else elsewhere.

    Raises:
        ConfigError: the environment has a variable of ours that is no option.
        UsageError: a path is not whole.
    """
    for name, text in environment.items():
        ours = name.startswith(CNI_PREFIX) and name not in _KNOWN
        if ours and not is_service_link(name, text):
            raise unknown_key(name, "environment", _KNOWN)
    for key in _PATHS:
        path = given.get(key)
        if path is not None and not path.startswith("/"):
            raise UsageError(
                f"--{key.replace('_', '-')} {path!r}: a whole path is needed",
                hint="give it from the root on, as the node sees it",
            )


def listen_place(text: str) -> tuple[str, int] | None:
    """Read an address and a port; ``None`` if there is to be none.

    Raises:
        UsageError: it is not that.
    """
    if text == LISTEN_OFF:
        return None
    address, colon, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]") or "::"
    if not (colon and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(
            f"--listen {text!r} is no address and port",
            hint=f"write it as {LISTEN}, [::1]:15015, :15015 for every address, or {LISTEN_OFF}",
        )
    return address, int(port)
