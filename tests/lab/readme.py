"""Keep the README and the pages of docs/ true: ``make format`` makes tables, ``make lint`` looks.

Tables between ``<!-- begin: NAME -->`` and ``<!-- end -->`` are made from the program. Blocks of
kind ``console`` are a session: each ``$`` line is run, in order, in one pod made for the purpose,
and its output must be what stands there, where a line ``...`` stands for any number of lines.
Each page has pods of its own. A block of kind ``toml NAME`` is a file its sessions may name.
What differs from run to run (the namespace's path, times, the port that ``verify`` picks) is
replaced by fixed text first. Programs at sockets are those of a node made for the purpose, and
while ``trace`` runs an app, its client and its proxy connect.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from interceptor.cli.exits import MEANINGS
from interceptor.settings import SETTINGS
from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.paths import PROGRAM
from tests.lab.pod import FAR, POD, PROXY_UID, Pod, new_pod
from tests.lab.remembered import remember
from tests.lab.traffic import connect, recorder
from tests.lab.vm import record

_PROJECT = Path(__file__).parent.parent.parent
_PAGES = ("README.md", "docs/own-sheet.md", "docs/migrating.md")
_POD = "/run/netns/pod"
_OTHER_POD = "/run/netns/orders"
_NODE = "/host"
_GAP = "..."
_INSIDE = ("nft", "curl")
"""Commands a session runs in the pod; others run outside, and are told of it."""


def settings_table() -> str:
    """Write one line for each setting."""
    lines = ["| flag | default | meaning |", "|---|---|---|"]
    for row in SETTINGS.values():
        value = "" if row.is_switch else f" {row.metavar}".replace("|", "\\|")
        default = f"`{row.default}`" if row.default else "none"
        lines.append(f"| `{row.flag}{value}` | {default} | {row.help} |")
    lines.append("| `--config FILE` | none | a file of settings; `-` is stdin |")
    return "\n".join(lines)


def exit_table() -> str:
    """Write one line for each exit code."""
    lines = ["| code | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| {code} | {text} |" for code, text in MEANINGS.items())])


def kernels_table() -> str:
    """Write one line for each kernel the tests last ran on, by ``make test-vm``."""
    return record.table(record.read())


_MADE = {"settings": settings_table, "exit codes": exit_table, "kernels": kernels_table}


def made(text: str) -> str:
    """Give the text with its made parts made anew."""

    def replace(found: re.Match[str]) -> str:
        return f"<!-- begin: {found[1]} -->\n{_MADE[found[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- begin: ([\w ]+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def new_node(root: Path, pod: Pod) -> None:
    """Make a node below a directory: two plugins in a list, and two pods a runtime has added."""
    net, mounts, cache = root / "etc/cni/net.d", root / "run/netns", root / "var/lib/cni"
    for directory in (net, mounts):
        directory.mkdir(parents=True)
    listed = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}
    listed["plugins"].append({"type": "portmap"})  # type: ignore[attr-defined]
    (net / "10-bridge.conflist").write_text(json.dumps(listed))
    meshed = {"interceptor.dev/inject": "true"}
    for name, there, said in (("cart", pod.pod, meshed), ("batch", pod.client, {})):
        (mounts / f"cni-{name}").symlink_to(there.path)
        remember(cache, f"/var/run/netns/cni-{name}", name, said)


class Places(NamedTuple):
    """What stands in sessions for what there is."""

    pod: Pod
    other: Pod
    root: Path
    sockets: EbpfNode
    files: frozenset[str] = frozenset()
    """Below the root, by their names in sessions."""

    def real(self, line: str) -> list[str]:
        """Give what to start for a line."""
        known = {_POD: self.pod.pod.path, _OTHER_POD: self.other.pod.path, _NODE: str(self.root)}
        known |= {name: str(self.root / name) for name in self.files}
        words = [known.get(word, word) for word in shlex.split(line)]
        if words[0] == "interceptor":
            return [*self.sockets.prefix, PROGRAM, *words[1:]]
        return words


def run(line: str, places: Places) -> list[str]:
    """Run a line of a session in the pod's surroundings and give what it prints, made steady."""
    argv = places.real(line)
    environment = {**os.environ, "COLUMNS": "99"}
    where = places.pod.pod if argv[0] in _INSIDE else places.pod.outside
    with where:
        started = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
    begun = ""
    if " trace " in line:
        assert started.stderr
        begun = started.stderr.readline()
        _connect(places.other if _OTHER_POD in line else places.pod)
    out, err = started.communicate()
    return steady(begun + out + err, places)


_APP = """
import os, socket, sys
with open("/proc/self/comm", "w") as name:
    name.write(sys.argv[1])
os.setresgid(*[int(sys.argv[2])] * 3)
os.setresuid(*[int(sys.argv[2])] * 3)
kept = socket.create_connection((sys.argv[3], int(sys.argv[4])), 5)
print(flush=True)
sys.stdin.read()
"""


_SENT = (("shop", 1000, "80"), ("shop", 1000, "443"), ("envoy", PROXY_UID, "443"))


def _connect(pod: Pod) -> None:
    """Connect in and out: a client, the app, and its proxy."""
    with recorder(pod.pod, 15001, 15006), recorder(pod.outside, 443), ExitStack() as stack:
        connect(pod.client, POD[4], 8080)
        for name, uid, port in _SENT:
            argv = [sys.executable, "-c", _APP, name, str(uid), FAR[4], port]
            with pod.pod:
                one = stack.enter_context(
                    subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                )
            assert one.stdout
            one.stdout.readline()
        # Until then the kernel knows who has the sockets.
        time.sleep(0.5)


def steady(text: str, places: Places) -> list[str]:
    """Replace what is different each time."""
    text = text.replace(places.pod.pod.path, _POD).replace(places.other.pod.path, _OTHER_POD)
    for name in places.files:
        text = text.replace(str(places.root / name), name)
    text = re.sub(r"(?m)^\d\d:\d\d:\d\d\.\d{3}  ", "12:34:56.789  ", text)
    text = re.sub(r"(?m)^(12:34:56\.789  .*?):[3456]\d{4} ->", r"\g<1>:40001 ->", text)
    text = re.sub(r"((?:outside|pod|localhost):)[234567]\d{4}\b", r"\g<1>40001", text)
    return text.splitlines()


def fits(wanted: list[str], found: list[str]) -> bool:
    """Whether an output is what is wanted, where ``...`` stands for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if w == _GAP else re.escape(w) + r"\n" for w in wanted)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) is not None


def sessions(text: str) -> list[tuple[str, list[str]]]:
    """Give each ``$`` line of the console blocks with the output that stands below it."""
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return steps


def files(text: str) -> dict[str, str]:
    """Give the files a page has its readers write, by name."""
    blocks = re.findall(r"^```toml (\S+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return dict(blocks)


def faults(page: Path, *, check: bool) -> list[str]:
    """Check a page's sessions and, unless they are to be made anew, its tables."""
    text = page.read_text()
    current = made(text)
    if not check and current != text:
        page.write_text(current)
    found = ["a made table is not as it would be made now"] if check and current != text else []
    with (
        ebpf_node() as sockets,
        new_pod() as pod,
        new_pod() as other,
        tempfile.TemporaryDirectory() as root,
    ):
        new_node(Path(root), pod)
        for name, content in files(text).items():
            (Path(root) / name).write_text(content)
        places = Places(pod, other, Path(root), sockets, frozenset(files(text)))
        for line, wanted in sessions(text):
            printed = run(line, places)
            if not fits(wanted, printed):
                found.append(f"$ {line}\nprints now:\n" + "\n".join(printed))
    return found


def main() -> None:
    """Check, or rewrite."""
    if os.geteuid() != 0:
        sys.exit("README.md: its sessions run in network namespaces, so checking it needs root")
    check = "--check" in sys.argv[1:]
    wrong = {page: faults(_PROJECT / page, check=check) for page in _PAGES}
    told = [
        f"{page} has drifted (make format mends tables):\n\n" + "\n\n".join(found)
        for page, found in wrong.items()
        if found
    ]
    if told:
        sys.exit("\n\n".join(told))


if __name__ == "__main__":
    main()
