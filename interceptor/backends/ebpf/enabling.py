"""Put a pod's policy in force, or in the place of another, and take it away.

All of it needs the machine's lock. At any moment there is the old policy, the new one, or none;
whoever dies in the middle leaves a note, and the next one sweeps.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from interceptor.backends.ebpf import layout, loading
from interceptor.backends.ebpf.listeners import Listener, listening, take
from interceptor.backends.ebpf.store import possible_cpus
from interceptor.system.bpf_map import NOEXIST

if TYPE_CHECKING:
    from interceptor.backends.ebpf.programs import Programs
    from interceptor.backends.ebpf.store import Store
    from interceptor.model.pod_config import PodConfig


def is_enforced(store: Store, cookie: int, config: PodConfig) -> bool:
    """Whether just this policy is in force for a pod."""
    policy = store.map("pods").get(layout.POD_KEY.pack(cookie))
    if policy is None or not store.inode(cookie):
        return False
    generation = layout.generation_of(policy)
    lowered = layout.lower(config, generation)
    if lowered.policy != policy:
        return False
    facts = store.map("facts").items()
    mine = {key: held for key, held in facts.items() if layout.owner_of(key) == generation}
    return mine == lowered.facts


def enable(store: Store, programs: Programs, cookie: int, netns: int, config: PodConfig) -> int:
    """Put a policy in force in an open namespace.

    Returns:
        How many of the proxy's listeners no process seen from here has.

    Raises:
        HostError: this machine cannot; what was in force is in force still.
    """
    pod = layout.POD_KEY.pack(cookie)
    before = store.map("pods").get(pod)
    generation = store.state().last_generation + 1
    lowered = layout.lower(config, generation)
    store.note(last_generation=generation, changing=True)
    try:
        store.map("facts").put_all(lowered.facts)
        nothing = bytes(layout.COUNTERS_SIZE * possible_cpus())
        store.map("counts").put(pod, nothing, NOEXIST)
        # Without a policy it lets everything pass. So what begins with the policy begins for
        # both directions at once.
        loading.link_pod(store, programs, cookie, netns)
        if before is None:
            unreachable = _begin(store, cookie, netns, config.inbound_port, lowered.policy)
        else:
            unreachable = _go_on(store, cookie, netns, before, lowered.policy)
    except BaseException:
        if before is None:
            store.forget(cookie)
        else:
            store.map("pods").put(pod, before)
        store.sweep_facts()
        store.note(changing=False)
        raise
    if before is not None:
        store.sweep_facts()
    store.note(changing=False)
    return unreachable


def _begin(store: Store, cookie: int, netns: int, port: int, policy: bytes) -> int:
    """Put the first policy down; the proxy that is there already gets what arrives at once."""
    store.map("listeners").remove_all(layout.listener_keys(cookie))
    known = listening(netns, port)
    unreachable = _name(store, cookie, netns, known)
    store.map("pods").put(layout.POD_KEY.pack(cookie), policy)
    # What begins to listen from now on is named by the programs, or is in this list, or both.
    new = [one for one in listening(netns, port) if one not in known]
    return unreachable + _name(store, cookie, netns, new)


def _go_on(store: Store, cookie: int, netns: int, before: bytes, policy: bytes) -> int:
    """Put a policy in the place of another; it decides about whatever is asked next."""
    store.map("pods").put(layout.POD_KEY.pack(cookie), policy)
    port = layout.inbound_port_of(policy)
    if layout.inbound_port_of(before) == port:
        return 0
    # What listened on another port is not the proxy any more. Before it is looked who listens:
    # what begins to from now on is named by the programs, or is in that list, or both.
    store.map("listeners").remove_all(layout.listener_keys(cookie))
    return _name(store, cookie, netns, listening(netns, port))


def _name(store: Store, cookie: int, netns: int, wanted: list[Listener]) -> int:
    """Name listeners that are there already; give how many could not be had."""
    taken = take(wanted, netns) if wanted else {}
    for one, descriptor in taken.items():
        for slot in layout.listener_keys(cookie):
            if layout.family_of(slot) == one.family and store.map("listeners").put(
                slot, descriptor.to_bytes(8, sys.byteorder), NOEXIST
            ):
                break
        os.close(descriptor)
    return len(wanted) - len(taken)


def disable(store: Store, cookie: int) -> bool:
    """Take a pod's policy away; false if there was none."""
    store.note(changing=True)
    was_there = store.forget(cookie)
    store.sweep_facts()
    store.note(changing=False)
    return was_there
