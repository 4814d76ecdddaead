"""Beside the reference plugin portmap: a runtime meets the same codes, or there is a reason.

Debian's portmap is of CNI 1.0.0, built on the reference library's skeleton, which every plugin
of that project shares.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.lab.cni import REFERENCE
from tests.lab.netns import namespaces
from tests.lab.plugin import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_PORTMAP = REFERENCE / "portmap"
_RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "/x"}],
    "ips": [{"address": "10.0.0.2/24", "interface": 0}],
    "dns": {},
}
_OLD_RESULT = {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.0.0.2/24"}]}
_ALL = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH")
_DEL = tuple(name for name in _ALL if name != "CNI_NETNS")


class Answered(NamedTuple):
    """What a plugin left: its exit status, and of the error on stdout the code and the words."""

    status: int
    code: int = 0
    message: str = ""
    stdout: str = ""
    stderr: str = ""


class Ground:
    """A host's namespace, where plugins run, and a container's."""

    def __init__(self, host: Namespace, container: Namespace, state: Path) -> None:
        self._host = host
        self._environment = {
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": container.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(REFERENCE),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        self._conf = {
            "cniVersion": "1.0.0",
            "name": "mesh",
            "type": "portmap",
            "prevResult": _RESULT,
            "capabilities": {"portMappings": True},
            "interceptor": {"selector": ["*"], "state_dir": str(state)},
        }
        self.places = {"<the host's>": host.path}

    def call(
        self,
        program: str | Path,
        verb: str | None,
        environment: Mapping[str, str | None] = {},
        conf: Mapping[str, Any] | str = {},
    ) -> Answered:
        """Run a plugin as a runtime does; ``None`` leaves a variable or a key out."""
        changed = {**self._environment, "CNI_COMMAND": verb, **environment}
        merged = {**self._conf, **conf} if not isinstance(conf, str) else {}
        stdin = conf if isinstance(conf, str) else json.dumps(_without_none(merged))
        with self._host:
            done = subprocess.run(
                [program],
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=20,
                env={k: self.places.get(v, v) for k, v in _without_none(changed).items()},
            )
        said: dict[str, Any] = {}
        with suppress(ValueError):
            said = json.loads(done.stdout)
        return Answered(
            done.returncode, said.get("code", 0), said.get("msg", ""), done.stdout, done.stderr
        )

    def both(
        self,
        verb: str | None,
        environment: Mapping[str, str | None] = {},
        conf: Mapping[str, Any] | str = {},
    ) -> tuple[Answered, Answered]:
        """Run portmap and ours, and take away what ours did."""
        theirs = self.call(_PORTMAP, verb, environment, conf)
        ours = self.call(PLUGIN, verb, environment, conf)
        if verb == "ADD" and ours.status == 0:
            assert self.call(PLUGIN, "DEL", environment).status == 0
        return theirs, ours


def _without_none(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with namespaces("host", "container") as (host, container):
        yield Ground(host, container, tmp_path_factory.mktemp("portmap") / "state")


class Row(NamedTuple):
    """A call, for which verbs it is made, and the code both give."""

    name: str
    code: int
    environment: Mapping[str, str | None] = {}
    conf: Mapping[str, Any] | str = {}
    verbs: tuple[str, ...] = ("ADD", "CHECK", "DEL")


_SAME = [
    *(Row(f"no {name}", 4, {name: None}, verbs=("ADD", "CHECK")) for name in _ALL),
    *(Row(f"no {name}", 4, {name: None}, verbs=("DEL",)) for name in _DEL),
    *(Row(f"empty {name}", 4, {name: ""}, verbs=("ADD", "CHECK")) for name in _ALL),
    *(Row(f"empty {name}", 4, {name: ""}, verbs=("DEL",)) for name in _DEL),
    Row("nothing at all", 4, dict.fromkeys(_ALL)),
    *(Row(f"ifname {bad!r}", 4, {"CNI_IFNAME": bad}) for bad in ("a/b", "a b", "a:b", ".", "..")),
    Row("ifname of 16", 4, {"CNI_IFNAME": "e" * 16}),
    Row("ifname of 15", 0, {"CNI_IFNAME": "e" * 15}, verbs=("ADD", "DEL")),
    *(
        Row(f"container {bad!r}", 4, {"CNI_CONTAINERID": bad})
        for bad in ("a/b", "-a", ".", "..", "a b", "é", "a\n")
    ),
    *(
        Row(f"network {bad!r}", 7, {}, {"name": bad})
        for bad in ("a/b", "-a", ".", "a b", "é", "a\n", "")
    ),
    Row("no network name", 7, {}, {"name": None}),
    Row("a number for a name", 6, {}, {"name": 5}),
    *(Row(f"stdin {text!r}", 6, {}, text) for text in ("", "{", "[]", "5", '"{}"', "\0")),
    Row("stdin {}", 7, {}, "{}"),
    Row("cniVersion 9.9.9", 1, {}, {"cniVersion": "9.9.9"}),
    Row("cniVersion one", 1, {}, {"cniVersion": "one"}, verbs=("ADD", "DEL")),
    Row("a number for a version", 6, {}, {"cniVersion": 1}),
    Row("null for a name", 7, {}, '{"cniVersion": "1.0.0", "name": null}'),
    Row("CHECK of 0.3.1", 1, {}, {"cniVersion": "0.3.1", "prevResult": _OLD_RESULT}, ("CHECK",)),
    Row("all of 0.3.1", 0, {}, {"cniVersion": "0.3.1", "prevResult": _OLD_RESULT}, ("ADD", "DEL")),
    Row("all in order", 0, verbs=("ADD", "DEL")),
    Row("no netns", 0, {"CNI_NETNS": None}, verbs=("DEL",)),
    Row("empty netns", 0, {"CNI_NETNS": ""}, verbs=("DEL",)),
    Row("netns is not there", 0, {"CNI_NETNS": "/run/netns/no-such"}, verbs=("DEL",)),
    Row("netns is the host's", 0, {"CNI_NETNS": "<the host's>"}, verbs=("DEL",)),
    Row("netns is a file", 0, {"CNI_NETNS": "/etc/passwd"}, verbs=("DEL",)),
    Row("no prevResult", 0, {}, {"prevResult": None}, ("DEL",)),
    Row("args of others", 0, {"CNI_ARGS": "IgnoreUnknown=1;A=b"}, verbs=("ADD", "DEL")),
    *(Row(f"verb {bad}", 4, verbs=(bad,)) for bad in ("FOO", "add", " ADD")),
]
_SAME_CALLS = [(row, verb) for row in _SAME for verb in row.verbs]


@pytest.mark.parametrize(
    ("row", "verb"), _SAME_CALLS, ids=[f"{verb} {row.name}" for row, verb in _SAME_CALLS]
)
def test_it_answers_as_portmap_does(ground: Ground, row: Row, verb: str) -> None:
    theirs, ours = ground.both(verb, row.environment, row.conf)
    assert (theirs.status, theirs.code) == (int(row.code > 0), row.code), theirs
    assert (ours.status, ours.code) == (theirs.status, theirs.code), ours
    if row.code:
        assert ours.message
    else:
        # A result, or nothing, to the same effect; ours is passed on as it came.
        assert bool(theirs.stdout) == bool(ours.stdout) == (verb == "ADD")


class Difference(NamedTuple):
    """A call that portmap answers in another way, and why we do not."""

    name: str
    verb: str
    theirs: int
    ours: int
    why: str
    environment: Mapping[str, str | None] = {}
    conf: Mapping[str, Any] | str = {}


_TEXT = {"prevResult": "text"}
_DIFFERENT = [
    Difference(
        *("no prevResult", "ADD", 999, 7),
        "999 is the library's word for any fault; a list without a plugin before us is a mistake "
        "in the configuration, which has a code of its own",
        conf={"prevResult": None},
    ),
    Difference(*("no prevResult", "CHECK", 999, 7), "as with ADD", conf={"prevResult": None}),
    *(
        Difference(
            *("prevResult is a text", verb, 999, 6),
            "as above; what cannot be decoded has its code",
            conf=_TEXT,
        )
        for verb in ("ADD", "CHECK", "DEL")
    ),
    *(
        Difference(
            *("stdin null", verb, 7, 6),
            "Go takes null for an object without anything in it; it is none",
            conf="null",
        )
        for verb in ("ADD", "CHECK", "DEL")
    ),
    Difference(
        *("cniVersion one", "CHECK", 6, 1),
        "portmap gives ADD and DEL a 1 for the same",
        conf={"cniVersion": "one"},
    ),
    Difference(
        *("args that are no pairs", "ADD", 0, 4),
        "portmap does not read them; they say whose pod it is",
        {"CNI_ARGS": "K8S_POD_NAME"},
    ),
    Difference(
        *("netns is the host's", "ADD", 0, 8),
        "portmap works in the host; intercepting the host would cut it off. Newer skeletons "
        "refuse it with this code",
        {"CNI_NETNS": "<the host's>"},
    ),
    Difference(
        *("netns is not there", "ADD", 0, 8),
        "portmap does not go there; we do, and a pod is never let through in silence",
        {"CNI_NETNS": "/run/netns/no-such"},
    ),
    Difference(*("netns is a file", "ADD", 0, 8), "as above", {"CNI_NETNS": "/etc/passwd"}),
    *(
        Difference(
            *("no cniVersion", verb, 999, 1),
            "that is 0.1.0, which knows no chains; portmap fails at the result's version",
            conf={"cniVersion": None},
        )
        for verb in ("ADD", "DEL")
    ),
    *(
        Difference(
            *("cniVersion 1.1.0", verb, 1, 0),
            "we speak it",
            conf={"cniVersion": "1.1.0", "prevResult": {**_RESULT, "cniVersion": "1.1.0"}},
        )
        for verb in ("ADD", "DEL")
    ),
    Difference(
        *("never added", "CHECK", 0, 102), "portmap without ports has nothing to miss; we have"
    ),
    *(
        Difference(*("before 1.1.0", verb, 4, 1), "we know the verb; that version does not")
        for verb in ("GC", "STATUS")
    ),
]


@pytest.mark.parametrize(
    "difference", _DIFFERENT, ids=[f"{one.verb} {one.name}" for one in _DIFFERENT]
)
def test_where_it_answers_otherwise_it_means_to(ground: Ground, difference: Difference) -> None:
    theirs, ours = ground.both(difference.verb, difference.environment, difference.conf)
    assert (theirs.status, theirs.code) == (int(difference.theirs > 0), difference.theirs), theirs
    assert (ours.status, ours.code) == (int(difference.ours > 0), difference.ours), ours


@pytest.mark.parametrize("stdin", ['{"cniVersion": "0.3.1"}', "", "{"])
def test_version_has_portmaps_shape(ground: Ground, stdin: str) -> None:
    """It looks at neither the environment nor stdin: runtimes ask before they know either."""
    nothing = dict.fromkeys(_ALL)
    theirs, ours = ground.both("VERSION", nothing, stdin)
    assert (theirs.status, ours.status) == (0, 0)
    said, reference = json.loads(ours.stdout), json.loads(theirs.stdout)
    assert said.keys() == reference.keys() == {"cniVersion", "supportedVersions"}
    for one in (said, reference):
        assert one["cniVersion"] == one["supportedVersions"][-1]
    assert said["supportedVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    # Not 0.1.0 to 0.3.0: before 0.3.0 there were no chains, and 0.3.0 is 0.3.1 with a slip.
    assert set(said["supportedVersions"]) - set(reference["supportedVersions"]) == {"1.1.0"}


@pytest.mark.parametrize("command", [None, ""])
def test_called_by_hand_it_says_what_it_is(ground: Ground, command: str | None) -> None:
    theirs, ours = ground.both(command)
    assert (theirs.status, theirs.stdout) == (ours.status, ours.stdout) == (0, "")
    for one in (theirs, ours):
        assert "CNI protocol versions supported: " in one.stderr
    assert ours.stderr.startswith("interceptor-cni ")


def test_an_error_has_what_the_spec_wants(ground: Ground) -> None:
    """portmap leaves the version out, which the spec has; what it does say ours says too."""
    theirs, ours = ground.both("ADD", {"CNI_CONTAINERID": "a/b"})
    said, reference = json.loads(ours.stdout), json.loads(theirs.stdout)
    assert said.keys() == {"cniVersion", "code", "msg", "details"}
    assert {key: said[key] for key in reference} == reference
    assert said["cniVersion"] in ("1.0.0", "1.1.0")


def test_all_that_is_missing_is_named_at_once(ground: Ground) -> None:
    theirs, ours = ground.both("ADD", dict.fromkeys(_ALL))
    assert ours.message == theirs.message
    assert all(name in ours.message for name in _ALL)


def test_a_result_is_passed_on_to_the_byte(ground: Ground) -> None:
    """portmap writes it anew; that loses what its model does not know."""
    result = '{"cniVersion": "1.0.0",  "ips": [{"address":"10.0.0.2/24"}], "x": 1.50}'
    conf = json.dumps({**ground._conf, "prevResult": "@"}).replace('"@"', result)
    theirs, ours = ground.both("ADD", {}, conf)
    assert ours.stdout.strip() == result
    assert '"x"' not in theirs.stdout
