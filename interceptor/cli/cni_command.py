"""``interceptor cni``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from interceptor.cli.cni_options import (
    ACCOUNT,
    AGENT,
    ENTRY,
    LISTENER,
    PLACES,
    PODS,
    REPAIR,
    check,
    listen_place,
)
from interceptor.cli.cni_pods import pods
from interceptor.cli.exits import DONE, FOUND
from interceptor.cli.session import command
from interceptor.cni.netconf import STATE_DIRECTORY
from interceptor.errors import UsageError
from interceptor.node.entry import Entry, check_namespaces, check_selectors, settings_of
from interceptor.node.installation import Installation, Options
from interceptor.node.network_list import PLUGIN
from interceptor.node.place import Place
from interceptor.settings import Scope
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from interceptor.cli.session import Session
    from interceptor.node.report import Report


def install(session: Session, **given: Any) -> int:
    """Put the plugin on this node, and have the runtime call it last for each pod.

    Its program goes into --bin-dir with all it needs, and an entry into the network configuration
    in --conf-dir that runtimes take, the first valid one. Nothing is done that is done already.

    With --watch it stays: it waits for a network configuration if there is none, puts the
    entry back when another program rewrites the file, and answers probes.
    """
    check(given)
    listen = listen_place(given["listen"])
    options = _options(given)
    installation = _installation(options)
    if given["watch"]:
        return _watch(session, given, installation, listen)
    done = installation.install(session.deadline)
    path = os.path.join(options.conf_dir, done.name)
    facts = {
        "changed": done.changed,
        "file": path,
        "program": os.path.join(options.bin_dir, PLUGIN),
        "fail_closed": options.fail_closed,
        "notes": list(done.notes),
    }
    said = "installed" if done.changed else "already so"
    session.printer.data(facts, [f"{said}: {PLUGIN} is called last in {path}"])
    for note in done.notes:
        session.printer.talk(f"note: {note}")
    return DONE


def _watch(
    session: Session,
    given: dict[str, Any],
    installation: Installation,
    listen: tuple[str, int] | None,
) -> int:
    from contextlib import ExitStack

    from interceptor.backends.ebpf import PIN_ROOT
    from interceptor.node.agent import Agent, need_packages

    need_packages()
    from interceptor.node.health import Health
    from interceptor.node.metrics import Metrics
    from interceptor.node.rounds import Rounds
    from interceptor.system.termination import told_to_end
    from interceptor.system.web import served

    timeout_s, talk = session.config.timeout, session.printer.talk
    health = Health(given["interval"])
    here = Place(given["host_root"]).here
    metrics = Metrics(here(given["state_dir"] or STATE_DIRECTORY), here(PIN_ROOT))
    agent = Agent(
        lambda program: installation.install(Deadline(timeout_s), program=program),
        installation.directories,
        given["interval"],
        health,
        metrics,
        talk,
    )
    with told_to_end() as stop, ExitStack() as stack:
        if listen:
            address, port = stack.enter_context(served(*listen, health.routes(metrics)))
            talk(f"answering at {address} port {port}")
        if given["pods_interval"]:
            Rounds(_for_rounds(given), given["pods_interval"], metrics, talk).start(stop)
        agent.run(stop)
    removed = given["remove_on_exit"] and installation.uninstall(Deadline(timeout_s))
    facts = {"insertions": agent.insertions, "removed": removed}
    left = "uninstalled" if removed else "the installation stays in place"
    session.printer.data(facts, [f"ended; {left}"])
    return DONE


def _for_rounds(given: dict[str, Any]) -> list[str]:
    """Give the options by which ``cni pods`` looks where this agent does."""
    places = [f"--conf-dir={given['conf_dir']}", f"--host-root={given['host_root']}"]
    places += [f"--netns-dir={path}" for path in given["netns_dir"]]
    return [*places, f"--cache-dir={given['cache_dir']}", *(["--repair"] * given["repair"])]


def uninstall(session: Session, **given: Any) -> int:
    """Take the plugin off this node; pods that run keep their rules.

    Its entry goes first, then its program. A network configuration that nobody else changed since
    is what it was before, byte for byte. Nothing there to remove is no error.
    """
    check(given)
    installation = _installation(_options(given))
    changed = installation.uninstall(session.deadline)
    said = f"removed: {PLUGIN}" if changed else "nothing of ours on this node"
    session.printer.data({"changed": changed}, [said])
    return DONE


def status(session: Session, **given: Any) -> int:
    """Say whether the plugin is installed on this node and will be called.

    Given what install was given, it also says whether the entry is as wanted. Exit code 3 means
    that something is missing, damaged or not as it should be.
    """
    from interceptor.node import report as reports
    from interceptor.node.ask import ask

    check(given)
    listen = listen_place(given["listen"])
    place = Place(given["host_root"])
    laid = _bundle().inspect(place.here(given["bin_dir"]))
    wanted = _entry(given).encode() if _says_entry(given) else None
    found = reports.report(given["conf_dir"], place, laid, wanted)
    answer = ask(*listen) if listen else None
    faults = [*found.faults]
    if answer and answer.status != 200:  # noqa: PLR2004 - HTTP's own number
        faults.append(f"the agent says: {answer.text}")
    facts = {
        "in_order": not faults,
        "present": found.present,
        "bundle": {
            "present": laid.present,
            "version": laid.version,
            "digest": laid.digest,
            "intact": laid.intact,
        },
        "file": os.path.join(given["conf_dir"], found.file) if found.file else None,
        "position": found.position or None,
        "plugins": found.plugins,
        "entry": found.entry,
        "ready": found.ready,
        "agent": answer and {"status": answer.status, "text": answer.text},
        "findings": faults,
        "notes": list(found.notes),
    }
    session.printer.data(facts, _lines(found, faults, laid.version))
    for note in found.notes:
        session.printer.talk(f"note: {note}")
    if found.present and listen and not answer:
        session.printer.talk(f"no agent answers at {given['listen']}")
    return FOUND if faults else DONE


def _lines(found: Report, faults: list[str], version: str) -> list[str]:
    if not found.present:
        return ["absent: nothing of ours on this node"]
    if not faults:
        where = f"plugin {found.position} of {found.plugins} in {found.file}"
        return [f"in order: {PLUGIN} {version} is {where}"]
    return ["not in order:", *(f"  {fault}" for fault in faults)]


def _installation(options: Options) -> Installation:
    return Installation(options, _bundle())


def _bundle() -> Any:
    from interceptor.node import bundle

    return bundle


def _options(given: dict[str, Any]) -> Options:
    return Options(
        entry=_entry(given).encode(),
        place=Place(given["host_root"]),
        bin_dir=given["bin_dir"],
        conf_dir=given["conf_dir"],
        fail_closed=given.get("fail_closed", False),
        ready_file=given["ready_file"],
        kubeconfig=given["kubeconfig_file"] or "",
        account=given.get("service_account_dir", ""),
    )


def _entry(given: dict[str, Any]) -> Entry:
    """Make our entry of the options; what a command has no option for stays out."""
    selector = tuple(given.get("selector", ()))
    namespaces = tuple(given.get("exclude_namespace", ()))
    check_selectors(selector)
    check_namespaces(namespaces)
    kubeconfig = given.get("kubeconfig_file")
    how = {key: given.get(f"lookup_{key}") for key in ("timeout", "always")}
    for key, value in how.items():
        if value and not kubeconfig:
            raise UsageError(
                f"--lookup-{key} is for a look-up, which --kubeconfig-file asks for",
                hint=f"give --kubeconfig-file too, or leave --lookup-{key} out",
            )
    lookup = {"kubeconfig": kubeconfig, **how}
    path = given.get("settings")
    return Entry(
        settings=settings_of(path) if path else {},
        selector=selector,
        exclude_namespaces=namespaces,
        state_dir=given.get("state_dir") or "",
        log_file=given.get("log_file") or "",
        log_max_bytes=given.get("log_max_bytes"),
        ready_file=given["ready_file"] if given.get("fail_closed") else "",
        lookup={k: v for k, v in lookup.items() if v} if kubeconfig else {},
    )


def _says_entry(given: dict[str, Any]) -> bool:
    """Whether anything was said of what our entry should be."""
    names = (str(option.name) for option in ENTRY if option.name != "ready_file")
    return any(given[name] for name in names)


_NEEDED = tuple(o for o in ENTRY if o.name in ("ready_file", "kubeconfig_file"))

command = click.Group(
    "cni",
    help="Keep the CNI plugin installed on a node.",
    commands=[
        command("install", (Scope.RUN,), (*PLACES, *ENTRY, ACCOUNT, *AGENT, *PODS))(install),
        command("uninstall", (Scope.RUN,), (*PLACES, *_NEEDED))(uninstall),
        command("status", (Scope.RUN,), (*PLACES, *ENTRY, LISTENER))(status),
        command("pods", (Scope.RUN,), (*PLACES[1:], *PODS, REPAIR))(pods),
    ],
)
