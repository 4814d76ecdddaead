// SPDX-License-Identifier: Apache-2.0
// What becomes of a connection: the policy that rules/sidecar.toml writes down as rules, in the
// same order. Nothing here changes anything, so a decision can be thrown away and made again.
#pragma once

#include <linux/in.h>
#include <linux/in6.h>

#include "maps.h"

#define DNS_PORT 53
#define MAPPED bpf_htonl(0xffff)

struct connection {
	struct address address; // the destination
	struct address source;  // all zero unless the socket is bound to one
	__u32 uid;
	__u32 gid;
	__u32 mark;
	__u16 port;
	__u16 protocol;
};

struct decision {
	__u32 verdict;
	__u32 reason;
	__u16 port; // of the listener it goes to
};

static __always_inline int is_ipv4(const struct address *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == MAPPED;
}

static __always_inline int is_loopback(const struct address *a)
{
	if (is_ipv4(a))
		return (a->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0 && a->word[3] == bpf_htonl(1);
}

// 127.0.0.6 and ::6: where the proxy's inbound side says it comes from.
static __always_inline int is_handover(const struct address *a)
{
	if (is_ipv4(a))
		return a->word[3] == bpf_htonl(0x7f000006);
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0 && a->word[3] == bpf_htonl(6);
}

// To connect to no address is to connect to localhost, but the kernel says so only later.
static __always_inline void no_address_is_localhost(struct address *a)
{
	if (a->word[0] || a->word[1] || a->word[3])
		return;
	if (a->word[2] == MAPPED)
		a->word[3] = bpf_htonl(0x7f000001);
	else if (a->word[2] == 0)
		a->word[3] = bpf_htonl(1);
}

static __always_inline __u32 fact(const struct policy *policy, struct fact_key *key, __u32 kind,
				  __u32 bits)
{
	key->length = 96 + bits;
	key->kind = kind;
	key->generation = policy->generation;
	__u32 *found = bpf_map_lookup_elem(&facts, key);
	return found ? *found : policy->usual[kind];
}

static __always_inline __u32 id_fact(const struct policy *policy, __u32 kind, __u32 id)
{
	struct fact_key key = {};
	__builtin_memcpy(key.number, &(__u32){bpf_htonl(id)}, 4);
	return fact(policy, &key, kind, 32);
}

static __always_inline __u32 port_fact(const struct policy *policy, __u16 port)
{
	struct fact_key key = {};
	__builtin_memcpy(key.number, &(__u16){bpf_htons(port)}, 2);
	return fact(policy, &key, FACT_PORT, 16);
}

static __always_inline __u32 network_fact(const struct policy *policy, const struct address *a)
{
	struct fact_key key = {};
	if (is_ipv4(a)) {
		__builtin_memcpy(key.number, &a->word[3], 4);
		return fact(policy, &key, FACT_IPV4, 32);
	}
	__builtin_memcpy(key.number, a, 16);
	return fact(policy, &key, FACT_IPV6, 128);
}

static __always_inline int captures(const struct policy *policy, const struct address *a)
{
	return policy->flags & (is_ipv4(a) ? POLICY_IPV4 : POLICY_IPV6);
}

static __always_inline int has_exempt_mark(const struct policy *policy, __u32 mark)
{
	UNROLLED
	for (int i = 0; i < MOST_MARKS; i++) {
		if (i >= policy->marks)
			return 0;
		if ((mark & policy->mark[i].mask) == policy->mark[i].value)
			return 1;
	}
	return 0;
}

static __always_inline void decide(struct decision *d, __u32 verdict, __u32 reason, __u16 port)
{
	d->verdict = verdict;
	d->reason = reason;
	d->port = port;
}

// Inbound: `source` are the facts of where it comes from.
static __always_inline void decide_inbound_port(const struct policy *policy, __u16 port,
						__u32 source, __u32 reason, struct decision *d)
{
	__u32 ports = port_fact(policy, port);
	if (ports & PORT_INBOUND_EXCLUDED)
		decide(d, DIRECT, REASON_KEPT_PORT, 0);
	else if (source & NET_SOURCE_EXCLUDED)
		decide(d, DIRECT, REASON_EXCLUDED_SOURCE, 0);
	else if (ports & PORT_INBOUND)
		decide(d, TO_INBOUND, reason, policy->inbound_port);
	else
		decide(d, DIRECT, REASON_INBOUND_NOT_INCLUDED, 0);
}

// The facts of where a call of one's own pod comes from. Unless the socket is bound, the kernel
// takes the very address that is called, and 127.0.0.1 to call 127.0.0.0/8.
static __always_inline __u32 self_facts(const struct policy *policy, const struct connection *c,
					__u32 destination)
{
	struct address source = c->source;
	no_address_is_localhost(&source);
	int is_bound = c->source.word[3] || c->source.word[0] || c->source.word[1];
	return destination & NET_OWN && !is_bound ? destination : network_fact(policy, &source);
}

// A connection, or a query, that is made in the pod.
static __always_inline void outbound_policy(const struct policy *policy,
					    const struct connection *c, struct decision *d)
{
	int is_udp = c->protocol == IPPROTO_UDP;
	decide(d, DIRECT, REASON_NONE, 0);
	if (!captures(policy, &c->address))
		return;
	if (is_udp && !(c->port == DNS_PORT && policy->flags & POLICY_DNS))
		return;

	__u32 user = id_fact(policy, FACT_UID, c->uid);
	__u32 group = id_fact(policy, FACT_GID, c->gid);
	__u32 network = network_fact(policy, &c->address);
	int is_local = is_loopback(&c->address) || is_handover(&c->address) || network & NET_OWN;
	__u32 proxy = user & ID_PROXY    ? REASON_PROXY_USER
		      : group & ID_PROXY ? REASON_PROXY_GROUP
		      : has_exempt_mark(policy, c->mark) ? REASON_PROXY_MARK
							 : REASON_NONE;
	if (proxy) {
		decide(d, DIRECT, proxy, 0);
		if (is_udp || !is_local || !(policy->flags & POLICY_INBOUND))
			return;
		if (is_handover(&c->source))
			decide(d, DIRECT, REASON_HANDOVER, 0);
		else if (!(network & NET_LOCALHOST))
			decide_inbound_port(policy, c->port, self_facts(policy, c, network),
					    REASON_SELF_CALL, d);
		return;
	}
	if (user & ID_EXCLUDED)
		return decide(d, DIRECT, REASON_EXCLUDED_USER, 0);
	if (group & ID_EXCLUDED)
		return decide(d, DIRECT, REASON_EXCLUDED_GROUP, 0);
	if (!(group & ID_INCLUDED))
		return decide(d, DIRECT, REASON_OTHER_GROUP, 0);

	__u32 ports = port_fact(policy, c->port);
	if (ports & PORT_OUTBOUND_EXCLUDED)
		return decide(d, DIRECT, REASON_EXCLUDED_PORT, 0);
	if (network & NET_EXCLUDED)
		return decide(d, DIRECT, REASON_EXCLUDED_NETWORK, 0);
	if (c->port == DNS_PORT && network & NET_RESOLVER)
		return decide(d, TO_DNS, REASON_DNS, policy->dns_port);
	if (is_udp)
		return decide(d, DIRECT, REASON_NOT_INCLUDED, 0);
	if (is_local) {
		if (network & NET_LOOPBACK_INCLUDED && !(network & NET_LOCALHOST))
			return decide(d, TO_OUTBOUND, REASON_LOOPBACK, policy->outbound_port);
		return decide(d, DIRECT, REASON_OWN_POD, 0);
	}
	if (network & NET_INCLUDED)
		return decide(d, TO_OUTBOUND, REASON_NETWORK, policy->outbound_port);
	if (ports & PORT_OUTBOUND)
		return decide(d, TO_OUTBOUND, REASON_PORT, policy->outbound_port);
	decide(d, DIRECT, REASON_NOT_INCLUDED, 0);
}

// A connection that arrives: `c->source` is the client.
static __always_inline void inbound_policy(const struct policy *policy,
					   const struct connection *c, struct decision *d)
{
	decide(d, DIRECT, REASON_NONE, 0);
	if (!(policy->flags & POLICY_INBOUND) || !captures(policy, &c->address))
		return;
	// What the pod sends to itself was decided about when it was made. Its interface does not
	// tell: the kernel names the one that has the address, not lo.
	if (is_loopback(&c->source) || is_loopback(&c->address) || is_handover(&c->source))
		return;
	__u32 source = network_fact(policy, &c->source);
	if (!(source & NET_OWN))
		decide_inbound_port(policy, c->port, source, REASON_INBOUND, d);
}

// Global, and so checked by the verifier once and not at every turn of their callers' loops: that
// makes loading ten times as fast. It takes the pointers for ones that may be null.
CHECKED_ONCE int decide_outbound(const struct policy *policy,
					      const struct connection *c, struct decision *d)
{
	if (policy && c && d)
		outbound_policy(policy, c, d);
	return 0;
}

CHECKED_ONCE int decide_inbound(const struct policy *policy,
					     const struct connection *c, struct decision *d)
{
	if (policy && c && d)
		inbound_policy(policy, c, d);
	return 0;
}

// Whether the policy is still the one a decision was begun with. If not, parts of it may be gone
// already: user space takes the old one's facts away only after the pod has the new generation.
static __always_inline int still_holds(__u64 pod, __u64 generation)
{
	struct policy *policy = bpf_map_lookup_elem(&pods, &pod);
	return policy && policy->generation == generation;
}

static __always_inline void count(__u64 pod, __u32 reason)
{
	struct counters *found = bpf_map_lookup_elem(&counts, &pod);
	if (found && reason < REASONS)
		found->count[reason]++;
}

static __always_inline struct trace *trace_of(__u32 slot, __u64 pod)
{
	struct trace *trace = bpf_map_lookup_elem(&traces, &slot);
	return trace && trace->until && (!trace->pod || trace->pod == pod) ? trace : 0;
}

CHECKED_ONCE int is_traced_by(__u32 slot, __u64 pod)
{
	return trace_of(slot, pod) != 0;
}

// Asked first, so that hardly anything is paid while nobody looks. Without a branch: the verifier
// would go on from each.
static __always_inline int is_traced(__u64 pod)
{
	int found = 0;
	UNROLLED
	for (__u32 slot = 0; slot < TRACERS; slot++)
		found |= is_traced_by(slot, pod);
	return found;
}

static __always_inline struct event event_of(__u64 pod, const struct connection *c,
					     const struct decision *d, __u16 source_port)
{
	return (struct event){
		.time = bpf_ktime_get_ns(),
		.pod = pod,
		.source = c->source,
		.address = c->address,
		.uid = c->uid,
		.gid = c->gid,
		.source_port = source_port,
		.port = c->port,
		.protocol = c->protocol,
		.verdict = d->verdict,
		.reason = d->reason,
		.listener = d->port,
	};
}

// Whoever is held up for longer than his lease has it counted, or it would be missing without a
// word.
CHECKED_ONCE int tell_one(__u32 slot, const struct event *event)
{
	struct trace *trace = event ? trace_of(slot, event->pod) : 0;
	if (!trace)
		return 0;
	if (event->time <= trace->until) {
		void *ring = bpf_map_lookup_elem(&rings, &slot);
		if (ring && !bpf_ringbuf_output(ring, (void *)event, sizeof(*event), 0))
			return 0;
	}
	__u64 *lost = bpf_map_lookup_elem(&losses, &slot);
	if (lost)
		(*lost)++;
	return 0;
}

static __always_inline void tell(const struct event *event)
{
	UNROLLED
	for (__u32 slot = 0; slot < TRACERS; slot++)
		tell_one(slot, event);
}
