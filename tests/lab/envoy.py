"""A real Envoy in a pod, as a mesh configures it: two listeners that ask where a connection was
going, and clusters that take it there; inbound ones from 127.0.0.6 and ::6.
"""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import envoy

from tests.lab.http import fetch
from tests.lab.pod import POD, POD_SIDE, PROXY_GID, PROXY_UID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

ADMIN_PORT = 15000
_READY_S = 20.0
_TYPES = "type.googleapis.com/envoy.extensions"
_LINE = (
    "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST% "
    "%UPSTREAM_LOCAL_ADDRESS% %RESPONSE_FLAGS%"
)


def binary() -> Path:
    """Give the executable the wheel brings; its own script starts a Python first."""
    return Path(str(envoy.__file__)).parent / "_bin" / "envoy"


_WAYS = {"outbound": "outside", "inbound": "app"}
"""Names of the listeners, and of the clusters that take connections on."""

_MARK = 1337
"""What Envoy marks connections with that it makes in a client's name, see ``--tproxy-mark``."""


def _in_the_clients_name() -> dict[str, Any]:
    """Go on to the app from the address the client has."""
    return {
        "name": "envoy.filters.listener.original_src",
        "typed_config": {
            "@type": f"{_TYPES}.filters.listener.original_src.v3.OriginalSrc",
            "mark": _MARK,
        },
    }


def _listener(name: str, port: int, cluster: str, *, transparent: bool = False) -> dict[str, Any]:
    log = {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"text_format_source": {"inline_string": f"{name} {_LINE}\n"}},
        },
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "::", "port_value": port, "ipv4_compat": True}},
        "transparent": transparent,
        "listener_filters": [
            {
                "name": "envoy.filters.listener.original_dst",
                "typed_config": {
                    "@type": f"{_TYPES}.filters.listener.original_dst.v3.OriginalDst"
                },
            },
            *([_in_the_clients_name()] if transparent else []),
        ],
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.tcp_proxy",
                        "typed_config": {
                            "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": name,
                            "cluster": cluster,
                            "access_log": [log],
                        },
                    }
                ]
            }
        ],
    }


def _cluster(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "2s",
        **more,
    }


class Proxy(NamedTuple):
    """A mesh's: its ports, its ids, and whether it calls the app from 127.0.0.6."""

    inbound: int = 15006
    outbound: int = 15001
    uid: int = PROXY_UID
    gid: int = PROXY_GID
    hands_over: bool = True
    app_port: int = 0
    """Where on 127.0.0.1 it reaches the app, whatever the address its client called."""


ISTIO = Proxy()


def _one_listener(port: int) -> dict[str, Any]:
    """Take both ways at one port: what was going to the pod's own addresses is inbound."""
    both, inbound = (_listener(name, port, to) for name, to in _WAYS.items())
    pods = [
        {"address_prefix": address, "prefix_len": 32 if version == 4 else 128}
        for of in (POD, POD_SIDE)
        for version, address in of.items()
    ]
    to_pod = {**inbound["filter_chains"][0], "filter_chain_match": {"prefix_ranges": pods}}
    return {**both, "filter_chains": [to_pod, *both["filter_chains"]]}


def _at_localhost(port: int) -> dict[str, Any]:
    """Give the cluster of an app that is reached at 127.0.0.1."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    return {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": "app", "endpoints": [endpoint]},
    }


def configuration(proxy: Proxy = ISTIO, *, transparent: bool = False) -> dict[str, Any]:
    """Give Envoy's bootstrap.

    A transparent one takes inbound connections by TPROXY, and is the client to the app.
    """
    own_address = transparent or not proxy.hands_over
    handover = {
        "source_address": {"address": "127.0.0.6", "port_value": 0},
        "extra_source_addresses": [{"address": {"address": "::6", "port_value": 0}}],
    }
    return {
        "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": ADMIN_PORT}}
        },
        "static_resources": {
            "listeners": [_one_listener(proxy.inbound)]
            if proxy.inbound == proxy.outbound
            else [
                _listener("outbound", proxy.outbound, "outside"),
                _listener("inbound", proxy.inbound, "app", transparent=transparent),
            ],
            "clusters": [
                _cluster("outside"),
                _at_localhost(proxy.app_port)
                if proxy.app_port
                else _cluster(
                    "app", **({} if own_address else {"upstream_bind_config": handover})
                ),
            ],
        },
    }


class Envoy:
    """A running Envoy and what it has logged of connections that ended."""

    def __init__(
        self, namespace: Namespace, log: Path, proxy: Proxy, *, transparent: bool
    ) -> None:
        self._log, self._proxy = log, proxy
        with log.open("wb") as output, binary().open("rb") as program, namespace:
            # By descriptor: the proxy's user may not reach a checkout below /root by its path.
            self.process = subprocess.Popen(
                [
                    f"/proc/self/fd/{program.fileno()}",
                    "--config-yaml",
                    json.dumps(configuration(proxy, transparent=transparent)),
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "--log-level",
                    "error",
                    "--file-flush-interval-msec",
                    "20",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                # To be transparent takes a capability, so it is root and known by its group.
                user=0 if transparent else proxy.uid,
                group=proxy.gid,
                extra_groups=[],
                pass_fds=[program.fileno()],
            )
        self._wait_ready(namespace)

    def _wait_ready(self, namespace: Namespace) -> None:
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            answer = fetch(namespace, "127.0.0.1", ADMIN_PORT, "/ready", uid=self._proxy.uid)
            if "LIVE" in answer:
                return
            time.sleep(0.05)
        raise AssertionError(f"Envoy did not get ready: {self._log.read_text()}")

    def log(self, wanted: int, timeout_s: float = 5.0) -> list[dict[str, str]]:
        """Give the logged connections, waiting until there are as many as wanted."""
        keys = ("listener", "from", "to", "upstream", "upstream_from", "flags")
        end = time.monotonic() + timeout_s
        while True:
            lines = [line.split() for line in self._log.read_text().splitlines()]
            entries = [
                dict(zip(keys, line, strict=True)) for line in lines if len(line) == len(keys)
            ]
            if len(entries) >= wanted or time.monotonic() > end:
                return entries
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running_envoy(
    namespace: Namespace, directory: Path, proxy: Proxy = ISTIO, *, transparent: bool = False
) -> Iterator[Envoy]:
    """Have an Envoy for a while."""
    started = Envoy(namespace, directory / "envoy.log", proxy, transparent=transparent)
    try:
        yield started
    finally:
        started.stop()
