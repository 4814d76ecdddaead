"""Ask the API server for a pod: for runtimes that pass no annotations to plugins.

Each answer that is not a pod is an error: a pod that nobody can tell apart from one that is to be
intercepted must not start without being so. A kubelet comes back with the same pod soon, so what
may be otherwise then is tried again here only within a few seconds.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec

from interceptor.cni.api_server import ApiServer, NoAnswerError
from interceptor.cni.pod_spec import LookedUp, read_pod
from interceptor.errors import ConfigError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.cni.api_server import Answer
    from interceptor.cni.netconf import Lookup
    from interceptor.cni.pod import Pod

_OK = 200
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY = 401, 403, 404, 429
_SERVER_FAULTS = range(500, 600)
_FEW = 3
"""Times to ask in all where the answer may be about to change: a pod that only another API server
has been told of yet, a token that is being renewed."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.8
_LATER = "the kubelet starts the pod again by itself; can this node reach the API server?"
_HINTS = {
    _UNAUTHORIZED: "its token is not accepted: does interceptor cni install --watch renew it?",
    _FORBIDDEN: 'its user needs a ClusterRole with apiGroups [""], resources ["pods"], '
    'verbs ["get"], and a ClusterRoleBinding to that',
    _NOT_FOUND: "is the kubeconfig this cluster's?",
}


def looked_up(lookup: Lookup, pod: Pod) -> Pod:
    """Give what the API server knows of a pod in the place of what the runtime said.

    Raises:
        ConfigError: the runtime does not say which pod it is.
        HostError: the Kubernetes client is not installed.
        UnreachableError: the pod could not be had, or is another one of that name.
    """
    if not (pod.namespace and pod.name):
        raise ConfigError(
            f"{pod} cannot be looked up: the runtime does not say its namespace and name",
            hint="leave lookup out of the CNI configuration for a runtime without Kubernetes",
        )
    found = look_up(lookup, pod.namespace, pod.name)
    if pod.uid and pod.uid not in {found.uid, found.mirrors}:
        raise UnreachableError(
            f"{pod} was looked up, and is another one than the runtime starts: "
            f"uid {found.uid}, not {pod.uid}",
            hint="the older one of the two goes, and nothing has to be done about it",
        )
    return msgspec.structs.replace(
        pod,
        uid=pod.uid or found.uid,
        annotations=found.annotations,
        labels=found.labels,
        sidecar=found.settings,
        skip=found.skip,
    )


def look_up(lookup: Lookup, namespace: str, name: str) -> LookedUp:
    """Ask the API server for a pod.

    Raises:
        HostError: the Kubernetes client is not installed.
        UnreachableError: the pod could not be had, with the server and the reason.
    """
    asking = _Asking(lookup, namespace, name)
    # Apart from this thread: nothing limits how long a name server or a dripping answer takes.
    thread = threading.Thread(target=asking.run, daemon=True)
    thread.start()
    thread.join(lookup.timeout)
    match asking.result:
        case LookedUp() as pod:
            return pod
        case BaseException() as error:
            raise error
        case None:
            last = f", before that: {asking.last}" if asking.last else ""
            raise asking.error(f"no answer within {lookup.timeout:g} seconds{last}")


class _Asking:
    """Questions about one pod until one is answered, and what came of them."""

    def __init__(self, lookup: Lookup, namespace: str, name: str) -> None:
        from urllib.parse import quote

        self._lookup = lookup
        self._end = time.monotonic() + lookup.timeout
        self._pod = f"{namespace}/{name}"
        self._path = f"/api/v1/namespaces/{quote(namespace, '')}/pods/{quote(name, '')}"
        self._url = ""
        self.last = ""
        self.result: LookedUp | BaseException | None = None

    def run(self) -> None:
        """Ask; ``result`` is there when this ends."""
        try:
            self.result = self._ask()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self.result = error

    def error(self, reason: str, hint: str = "") -> UnreachableError:
        """Make the error that says what was asked of whom."""
        where = f" at {self._url}" if self._url else ""
        return UnreachableError(
            f"pod {self._pod} was not looked up{where}: {reason}", hint=hint or _LATER
        )

    def _ask(self) -> LookedUp:
        refusals = 0
        for pause_s in _pauses():
            # Anew each time: who renews a token writes a file.
            server = ApiServer(self._lookup.kubeconfig)
            self._url = server.url
            try:
                answer = server.get(self._path, max(self._end - time.monotonic(), pause_s))
            except NoAnswerError as error:
                self.last = str(error)
                if error.for_good:
                    raise self.error(
                        self.last, f"is what {self._lookup.kubeconfig} says this server's?"
                    ) from None
            else:
                if answer.status == _OK:
                    return self._read(answer)
                refusals += 1
                self.last = _refusal(answer)
                if not _may_change(answer.status, refusals):
                    raise self.error(self.last, _HINTS.get(answer.status, ""))
            if time.monotonic() + pause_s >= self._end:
                break
            time.sleep(pause_s)
        raise self.error(self.last)

    def _read(self, answer: Answer) -> LookedUp:
        try:
            return read_pod(answer.body)
        except ValueError as error:
            raise self.error(
                f"the answer is no pod: {error}", "is that server an API server of Kubernetes?"
            ) from None


def _pauses() -> Iterator[float]:
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _may_change(status: int, refusals: int) -> bool:
    """Whether the same question may soon have another answer."""
    if status in {_UNAUTHORIZED, _NOT_FOUND}:
        return refusals < _FEW
    return status == _TOO_MANY or status in _SERVER_FAULTS


class _Status(msgspec.Struct, frozen=True):
    message: str = ""


def _refusal(answer: Answer) -> str:
    """Give the status, and the server's own words if it has any."""
    try:
        words = msgspec.json.decode(answer.body, type=_Status).message
    except ValueError:
        words = ""
    line = " ".join(words.split())[:300]
    return f"HTTP status {answer.status}" + (f", {line}" if line else "")
