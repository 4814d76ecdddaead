"""The agent: it puts right what others change, at once, and does not fight for ever."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from interceptor.node import agent
from interceptor.node.health import Health
from interceptor.node.installation import Installation, Options
from interceptor.node.metrics import Metrics
from interceptor.node.place import Place
from interceptor.node.throttle import Throttle
from interceptor.system.deadline import Deadline
from tests.lab import loader, network_files, stand_in
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from pathlib import Path

_ENTRY = b'{"type":"interceptor-cni","interceptor":{"selector":["*"]}}'
_SLOW = 600.0
"""Seconds between looks; whatever happens earlier was seen to change."""
_AT_ONCE_S = 3.0
"""It takes a tenth of that; a machine may be busy."""


class Running:
    """An agent in a thread; all of it is below a directory that stands for the node's root."""

    def __init__(self, root: Path, *, interval_s: float = _SLOW, **options: Any) -> None:
        place = Place(str(root))
        wanted = Options(
            **{
                "entry": _ENTRY,
                "place": place,
                "conf_dir": "/net.d",
                "bin_dir": "/bin",
                "ready_file": "/run/ready",
                **options,
            }
        )
        environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
        installation = Installation(wanted, stand_in, environment)
        self.said: list[str] = []
        self.looks = 0
        self.health = Health(interval_s)
        self.metrics = Metrics(place.here("/state"))

        def install(program: bool) -> Any:
            self.looks += 1
            return installation.install(Deadline(30), program=program)

        self.agent = agent.Agent(
            install,
            installation.directories,
            interval_s,
            self.health,
            self.metrics,
            self.said.append,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.agent.run, args=(self._stop,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def settles(self) -> None:
        """Wait until it watches, and has looked at what changed before it did."""
        assert becomes(lambda: self.looks >= 2)

    def metric(self, name: str) -> float:
        lines = self.metrics.answer().body.decode().splitlines()
        return next(float(line.split(" ")[1]) for line in lines if line.startswith(f"{name} "))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(agent, "_TICK_S", 0.1)
    for name in ("net.d", "bin", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "net.d/05-cilium.conflist").write_bytes(network_files.CILIUM)
    return tmp_path


def _is_in(root: Path) -> bool:
    return loader.types(root / "net.d")[-1] == "interceptor-cni"


def test_another_writer_of_the_file_is_answered_at_once(root: Path) -> None:
    path = root / "net.d/05-cilium.conflist"
    with Running(root) as running:
        running.settles()
        for turn in range(1, 4):
            newer = network_files.CILIUM.replace(b"cilium-cni.log", f"{turn}.log".encode())
            path.with_suffix(".tmp").write_bytes(newer)
            path.with_suffix(".tmp").rename(path)
            assert becomes(lambda: _is_in(root), _AT_ONCE_S)
            assert f"{turn}.log".encode() in path.read_bytes()
        assert becomes(lambda: running.metric("interceptor_cni_reinsertions_total") == 3)
        assert running.metric("interceptor_cni_installed") == 1
        (root / "state/one-eth0.json").write_bytes(b"{}")
        assert running.metric("interceptor_cni_attachments") == 1
        (root / "bin/interceptor-cni").write_bytes(b"damaged")
        assert becomes(lambda: stand_in.inspect(str(root / "bin")).intact, _AT_ONCE_S)
        (root / "net.d/00-first.conflist").write_bytes(network_files.FLANNEL)
        assert becomes(lambda: len(loader.types(root / "net.d")) == 3, _AT_ONCE_S)
        assert becomes(lambda: path.read_bytes() == newer)
    assert _is_in(root), "it stays when the agent ends"


def test_when_nothing_happens_it_rests(root: Path) -> None:
    with Running(root) as running:
        running.settles()
        time.sleep(0.5)
        assert running.looks <= 4, "it must not be woken by what it does itself"


def test_a_network_that_comes_later_is_waited_for(root: Path) -> None:
    path = root / "net.d/05-cilium.conflist"
    path.unlink()
    with Running(root) as running:
        assert becomes(lambda: "no network configuration" in running.health.reason)
        assert running.health.order().status == 503
        assert running.health.alive().status == 200
        running.settles()
        assert len([line for line in running.said if line.startswith("error")]) == 1
        path.write_bytes(network_files.CILIUM)
        assert becomes(lambda: running.health.order().status == 200, _AT_ONCE_S)
        assert _is_in(root)
        assert running.agent.insertions == 0, "the first time is no re-insertion"


def test_a_directory_that_is_made_anew_is_watched_again(root: Path) -> None:
    with Running(root) as running:
        running.settles()
        (root / "net.d").rename(root / "old")
        (root / "net.d").mkdir()
        (root / "net.d/10-calico.conflist").write_bytes(network_files.CALICO)
        assert becomes(lambda: _is_in(root))
        (root / "net.d/10-calico.conflist").write_bytes(network_files.CALICO)
        assert becomes(lambda: _is_in(root))


def test_two_agents_that_want_the_same_leave_each_other_alone(root: Path) -> None:
    with Running(root) as one, Running(root) as other:
        for running in (one, other):
            running.settles()
        (root / "net.d/05-cilium.conflist").write_bytes(network_files.FLANNEL)
        assert becomes(lambda: _is_in(root), _AT_ONCE_S)
        assert becomes(lambda: one.agent.insertions + other.agent.insertions == 1)
        time.sleep(0.5)
        assert one.agent.insertions + other.agent.insertions == 1


def test_a_fight_is_slowed_down_and_told(root: Path) -> None:
    path = root / "net.d/05-cilium.conflist"
    end = threading.Event()

    def rewrite() -> None:
        while not end.wait(0.02):
            if b"interceptor" in path.read_bytes():
                path.with_suffix(".tmp").write_bytes(network_files.CILIUM)
                path.with_suffix(".tmp").rename(path)

    other = threading.Thread(target=rewrite)
    with Running(root) as running:
        running.settles()
        other.start()
        try:
            assert becomes(lambda: any("cni.exclusive" in line for line in running.said))
            assert running.agent.insertions == 5
        finally:
            end.set()
            other.join()


def test_the_throttle_lets_few_turns_pass_and_then_one_in_five_seconds() -> None:
    now = [100.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(5):
        assert throttle.rest_s == 0
        throttle.turn()
    assert throttle.rest_s == 5
    now[0] += 5
    assert throttle.rest_s == 0
    throttle.turn()
    assert throttle.rest_s == 5
    now[0] += 40
    assert throttle.rest_s == 0


def test_a_rotated_token_replaces_only_its_own_file(root: Path) -> None:
    account = root / "account"
    account.mkdir()
    (account / "ca.crt").write_bytes(b"certificates")
    (account / "token").write_bytes(b"first")
    path = root / "net.d/interceptor-kubeconfig"
    token = path.with_name("interceptor-kubeconfig.token")
    kubeconfig = "/net.d/interceptor-kubeconfig"
    with Running(root, kubeconfig=kubeconfig, account=str(account)) as running:
        running.settles()
        assert token.read_bytes() == b"first"
        assert b'"server": "https://[fd00::1]:443"' in path.read_bytes()
        assert b'"tokenFile": "interceptor-kubeconfig.token"' in path.read_bytes()
        assert path.stat().st_mode & 0o777 == token.stat().st_mode & 0o777 == 0o600
        before = path.stat().st_ino
        (account / "new").write_bytes(b"second")
        (account / "new").rename(account / "token")
        assert becomes(lambda: token.read_bytes() == b"second", _AT_ONCE_S)
        assert path.stat().st_ino == before
        assert running.agent.insertions == 0


def test_fail_closed_follows_the_other_file_and_is_ready_only_when_it_does(root: Path) -> None:
    path, ready = root / "net.d/05-cilium.conflist", root / "run/ready"
    with Running(root, fail_closed=True) as running:
        running.settles()
        assert ready.exists()
        assert path.read_bytes() == network_files.CILIUM
        path.write_bytes(network_files.FLANNEL)
        assert becomes(lambda: "portmap" in loader.types(root / "net.d"), _AT_ONCE_S)
        assert _is_in(root)
        path.unlink()
        assert becomes(lambda: not ready.exists(), _AT_ONCE_S)
        assert _is_in(root), "no pod starts without it meanwhile"
        path.write_bytes(network_files.CALICO)
        assert becomes(ready.exists, _AT_ONCE_S)
        assert loader.types(root / "net.d")[0] == "calico"
        ready.unlink()
        assert becomes(ready.exists, _AT_ONCE_S)
