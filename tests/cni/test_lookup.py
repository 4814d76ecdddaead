"""What comes of asking an API server for a pod, well or not; a real one is in tests/kubernetes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from interceptor.cni.lookup import look_up, looked_up
from interceptor.cni.netconf import Lookup
from interceptor.cni.pod import Pod
from interceptor.errors import ConfigError, HostError, UnreachableError
from tests.lab.api_server import (
    FakeApiServer,
    Reply,
    fake_api_server,
    pod,
    self_signed,
    status,
)
from tests.lab.asking import configure, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FORBIDDEN = 'pods "web" is forbidden: User "plugin" cannot get resource "pods"'


def test_a_pod_is_found(lookup: Lookup, certificate: Path) -> None:
    reply = pod(annotations={"a": "1"}, labels={"l": "2"}, uid="u-1")
    with fake_api_server(reply, certificate=certificate) as server:
        configure(lookup, server, certificate)
        found = look_up(lookup, "shop", "web")
    assert server.asked == [("/api/v1/namespaces/shop/pods/web", "Bearer first", False)]
    assert (found.annotations, found.labels, found.uid) == ({"a": "1"}, {"l": "2"}, "u-1")
    assert (found.settings, found.skip, found.host_network) == ({}, "", False)


def test_what_the_api_server_says_counts(lookup: Lookup) -> None:
    inject = "sidecar.istio.io/inject"
    reply = pod(annotations={inject: "true", "a": "1"}, labels={inject: "false"})
    with fake_api_server(reply) as server:
        configure(lookup, server)
        found = looked_up(lookup, Pod("shop", "web", annotations={"older": "2"}))
    assert found == Pod("shop", "web", "1", {inject: "true", "a": "1"}, {inject: "false"}, {}, "")
    assert found.marks == {inject: "false", "a": "1"}


@pytest.mark.parametrize(
    ("uid", "mirror", "is_it"),
    [("1", "", True), ("", "", True), ("2", "", False), ("2", "2", True), ("3", "2", False)],
)
def test_another_pod_of_that_name_is_not_taken_for_it(
    lookup: Lookup, uid: str, mirror: str, *, is_it: bool
) -> None:
    reply = pod(annotations={"kubernetes.io/config.mirror": mirror} if mirror else {})
    with fake_api_server(reply) as server:
        configure(lookup, server)
        if is_it:
            assert looked_up(lookup, Pod("shop", "web", uid)).uid == (uid or "1")
        else:
            with pytest.raises(UnreachableError, match=f"uid 1, not {uid}"):
                looked_up(lookup, Pod("shop", "web", uid))


def test_a_pod_without_a_namespace_is_not_looked_up(lookup: Lookup) -> None:
    with pytest.raises(ConfigError, match="does not say its namespace"):
        looked_up(lookup, Pod(name="web"))


def test_names_stay_names(lookup: Lookup) -> None:
    with fake_api_server(pod()) as server:
        configure(lookup, server)
        look_up(lookup, "../secrets", "a?b/c")
    assert server.asked[0].path == "/api/v1/namespaces/..%2Fsecrets/pods/a%3Fb%2Fc"


def test_a_renewed_token_is_read_again(lookup: Lookup, tmp_path: Path) -> None:
    with fake_api_server(pod()) as server:
        configure(lookup, server)
        look_up(lookup, "shop", "web")
        (tmp_path / "token").write_text("second")
        look_up(lookup, "shop", "web")
    assert [asked.token for asked in server.asked] == ["Bearer first", "Bearer second"]


def test_a_token_renewed_while_asking_is_used(lookup: Lookup, tmp_path: Path) -> None:
    with fake_api_server(status(401, "Unauthorized"), pod()) as server:
        server.before = lambda: (tmp_path / "token").write_text("second")
        configure(lookup, server)
        look_up(lookup, "shop", "web")
    assert [asked.token for asked in server.asked] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("reply", "times", "reason", "hint"),
    [
        (status(401, "Unauthorized"), 3, "HTTP status 401, Unauthorized", "token"),
        (status(403, _FORBIDDEN), 1, f"HTTP status 403, {_FORBIDDEN}", 'verbs ["get"]'),
        (status(404, 'pods "web" not found'), 3, '404, pods "web" not found', "cluster's"),
        (Reply(400), 1, "HTTP status 400", ""),
        (Reply(302, b"", (("Location", "http://127.0.0.1:1/"),)), 1, "HTTP status 302", ""),
        (Reply(200, b"<html>"), 1, "the answer is no pod", "API server of Kubernetes"),
        (Reply(200, b'{"metadata": {}}'), 1, "the answer is no pod", "API server"),
    ],
    ids=["401", "403", "404", "400", "302", "no JSON", "no pod"],
)
def test_a_refusal_says_why(
    lookup: Lookup, reply: Reply, times: int, reason: str, hint: str
) -> None:
    with fake_api_server(reply) as server:
        configure(lookup, server)
        error = refusal(lookup)
    assert error.message.startswith(f"pod shop/web was not looked up at {server.url}: ")
    assert reason in error.message
    assert hint in error.hint
    assert len(server.asked) == times


@pytest.mark.parametrize("code", [404, 429, 500, 503])
def test_what_passes_is_waited_for(lookup: Lookup, code: int) -> None:
    with fake_api_server(Reply(code), Reply(code), pod()) as server:
        configure(lookup, server)
        look_up(lookup, "shop", "web")


def test_an_api_server_that_comes_back_is_found(lookup: Lookup) -> None:
    with fake_api_server(pod()) as gone:
        pass
    configure(lookup, gone)
    made: list[FakeApiServer] = []
    timer = threading.Timer(0.2, lambda: made.append(FakeApiServer(pod(), port=gone.port)))
    timer.start()
    look_up(lookup, "shop", "web")
    timer.join()
    made[0].close()


def test_nobody_there(lookup: Lookup) -> None:
    with fake_api_server(pod()) as gone:
        pass
    configure(lookup, gone)
    lookup = Lookup(lookup.kubeconfig, timeout=1.5)
    assert refusal(lookup).message.endswith(f"{gone.url}: Connection refused")


@pytest.fixture(params=["silent", "dripping"])
def slow(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that never comes to the end of its answer."""
    over = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            if request.param == "dripping":
                connection.sendall(b"HTTP/1.1 200 OK\r\nName: ")
            while not over.wait(0.02):
                if request.param == "dripping":
                    with suppress(OSError):
                        connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join()


def test_the_deadline_is_over_everything(lookup: Lookup, slow: str) -> None:
    configure(lookup, slow)
    began = time.monotonic()
    assert slow in refusal(Lookup(lookup.kubeconfig, timeout=1.0)).message
    assert time.monotonic() - began < 10


def test_another_authority_is_not_trusted(
    lookup: Lookup, certificate: Path, tmp_path: Path
) -> None:
    with fake_api_server(pod(), certificate=certificate) as server:
        configure(lookup, server, self_signed(tmp_path, "other"))
        error = refusal(lookup)
    assert "its certificate is not trusted: self-signed certificate" in error.message
    assert lookup.kubeconfig in error.hint
    assert server.asked == []


def test_a_server_without_tls(lookup: Lookup, certificate: Path) -> None:
    with fake_api_server(pod()) as server:
        configure(lookup, server.url.replace("http:", "https:"), certificate)
        assert "wrong version number" in refusal(Lookup(lookup.kubeconfig, timeout=1.5)).message


def test_proxies_of_the_environment_do_not_matter(
    lookup: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:1")
    with fake_api_server(pod()) as server:
        configure(lookup, server)
        look_up(lookup, "shop", "web")


def test_without_the_client_it_says_what_to_install(
    lookup: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes.client.rest", None)
    with pytest.raises(HostError, match="Python has no kubernetes") as caught:
        look_up(lookup, "shop", "web")
    assert "--kubeconfig-file" in caught.value.hint


def test_the_client_is_only_loaded_where_a_pod_is_looked_up() -> None:
    code = "import sys, interceptor.cni.lookup; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"kubernetes", "urllib3", "ssl", "socket", "yaml"}
