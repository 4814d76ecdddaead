"""``make demo``: the main job, on a real Envoy, in namespaces made for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.envoy import running_envoy
from tests.lab.http import fetch, web_server
from tests.lab.pod import APP_UID, FAR, POD, PROXY_UID, Pod, new_pod

if TYPE_CHECKING:
    from tests.lab.envoy import Envoy
    from tests.lab.netns import Namespace

_APP, _WEB, _HEALTH = 8080, 80, 15020
_INTERCEPTOR = str(Path(sys.executable).with_name("interceptor"))


def say(line: str = "") -> None:
    """Print at once, in order with what programs print."""
    print(line, flush=True)


def interceptor(*arguments: str) -> None:
    """Run the program as a user would, and show the command."""
    say(f"\n$ interceptor {' '.join(arguments)}")
    done = subprocess.run([_INTERCEPTOR, *arguments], check=False)
    if done.returncode != 0:
        sys.exit(f"demo: interceptor {arguments[0]} ended with {done.returncode}")


def journeys(pod: Pod, envoy: Envoy) -> bool:
    """Make requests both ways and print where each went; false if one went wrong."""
    plan: list[tuple[str, Namespace, str, int, int, str]] = [
        ("client -> app", pod.client, POD[4], _APP, APP_UID, "inbound"),
        ("client -> app, IPv6", pod.client, POD[6], _APP, APP_UID, "inbound"),
        ("client -> metrics port", pod.client, POD[4], _HEALTH, APP_UID, ""),
        ("app -> outside", pod.pod, FAR[4], _WEB, APP_UID, "outbound"),
        ("app -> outside, IPv6", pod.pod, FAR[6], _WEB, APP_UID, "outbound"),
        ("proxy itself -> outside", pod.pod, FAR[4], _WEB, PROXY_UID, ""),
        ("app -> itself", pod.pod, POD[4], _APP, APP_UID, ""),
    ]
    rows = [("request", "dialled", "should pass", "Envoy saw", "answer")]
    good = True
    seen = len(envoy.log(0))
    for what, where, host, port, uid, listener in plan:
        answer = fetch(where, host, port, uid=uid)
        entries = envoy.log(seen + 1, timeout_s=3.0 if listener else 0.3)[seen:]
        seen += len(entries)
        passed = ", ".join(f"{e['listener']} {e['from']} -> {e['upstream']}" for e in entries)
        dialled = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        rows.append((what, dialled, listener or "nothing", passed or "nothing", answer))
        right = [e["listener"] for e in entries] == ([listener] if listener else [])
        good = good and right and answer.startswith("hello")
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    say()
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  " + "  ".join(cells).rstrip())
    return good


def main() -> None:
    """Show install, real traffic, status, verify and uninstall."""
    if os.geteuid() != 0:
        sys.exit("demo: it makes network namespaces, so it needs root")
    with new_pod() as pod, tempfile.TemporaryDirectory() as directory:
        path = pod.pod.path
        before = pod.pod.run("nft", "list", "ruleset")
        say("a client, a pod and an outside, each a network namespace;")
        say(f"in the pod an app on {_APP} and Envoy as user {PROXY_UID} on 15001 and 15006")
        with (
            web_server(pod.pod, _APP, _HEALTH),
            web_server(pod.outside, _WEB),
            running_envoy(pod.pod, Path(directory)) as envoy,
        ):
            interceptor("install", "--netns", path)
            good = journeys(pod, envoy)
            interceptor("status", "--netns", path)
            interceptor("verify", "--netns", path)
            interceptor("uninstall", "--netns", path)
        restored = pod.pod.run("nft", "list", "ruleset") == before
    say(f"\nevery request went where it should: {'yes' if good else 'NO'}")
    say(f"the namespace is as it was: {'yes' if restored else 'NO'}")
    sys.exit(0 if good and restored else 1)


if __name__ == "__main__":
    main()
