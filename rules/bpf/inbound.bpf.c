// SPDX-License-Identifier: Apache-2.0
// Which socket takes a connection that arrives: the proxy's, as if it were listening on every
// address and port. Nothing is translated: the destination stays in the packets.
//
// One copy is attached to each pod's network namespace. A program of this kind cannot ask in
// which it runs, and two pods may have the same addresses: so the copy is told when it is loaded.
#include "decide.h"

#define AF_INET 2
#define AF_INET6 10
#define MOST_TRIES 4

#ifndef INTERCEPTOR_BCC
const volatile __u64 this_pod = 0;
#define THIS_POD this_pod
#endif

CHECKED_ONCE int assign_one(struct bpf_sk_lookup *ctx, __u64 pod, __u32 family, __u32 slot)
{
	struct listener_key key = {.pod = pod, .family = family, .slot = slot};
	struct bpf_sock *sk = bpf_map_lookup_elem(&listeners, &key);
	if (!sk)
		return 0;
	// A listener for IPv6 alone does not take IPv4, and the kernel says so here.
	long failed = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return !failed;
}

static __always_inline int assign(struct bpf_sk_lookup *ctx, __u64 pod, __u32 family)
{
	UNROLLED
	for (__u32 slot = 0; slot < LISTENER_SLOTS; slot++)
		if (assign_one(ctx, pod, family, slot))
			return 1;
	return 0;
}

// See outbound.h. What is no pod of ours is left with no reason.
static __always_inline void decide_for(__u64 pod, const struct connection *c, struct decision *d)
{
	UNROLLED
	for (int i = 0; i < MOST_TRIES; i++) {
		struct policy *policy = bpf_map_lookup_elem(&pods, &pod);
		if (!policy)
			return decide(d, DIRECT, REASON_NONE, 0);
		__u64 generation = policy->generation;
		decide_inbound(policy, c, d);
		if (still_holds(pod, generation))
			return;
	}
	decide(d, REFUSED, REASON_UNSETTLED, 0);
}

PROGRAM("sk_lookup", inbound)(struct bpf_sk_lookup *ctx)
{
	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	__u64 pod = THIS_POD;
	struct connection c = {.protocol = IPPROTO_TCP, .port = ctx->local_port};
	// Volatile, and before it is known which are needed: see outbound.h.
	volatile struct bpf_sk_lookup *v = ctx;
	__u32 local4 = v->local_ip4, remote4 = v->remote_ip4;
	__u32 l0 = v->local_ip6[0], l1 = v->local_ip6[1], l2 = v->local_ip6[2],
	      l3 = v->local_ip6[3];
	__u32 r0 = v->remote_ip6[0], r1 = v->remote_ip6[1], r2 = v->remote_ip6[2],
	      r3 = v->remote_ip6[3];
	if (v->family == AF_INET) {
		c.address = (struct address){{0, 0, MAPPED, local4}};
		c.source = (struct address){{0, 0, MAPPED, remote4}};
	} else {
		c.address = (struct address){{l0, l1, l2, l3}};
		c.source = (struct address){{r0, r1, r2, r3}};
	}
	struct decision d = {};
	decide_for(pod, &c, &d);
	if (d.verdict == TO_INBOUND &&
		 !(ctx->family == AF_INET && assign(ctx, pod, AF_INET)) &&
		 !assign(ctx, pod, AF_INET6))
		// Never past the proxy: the client gets a reset.
		decide(&d, REFUSED, REASON_NO_LISTENER, 0);
	if (!d.reason)
		return SK_PASS;
	count(pod, d.reason);
	if (is_traced(pod)) {
		struct event event = event_of(pod, &c, &d, bpf_ntohs(ctx->remote_port));
		event.inbound = 1;
		tell(&event);
	}
	return d.verdict == REFUSED ? SK_DROP : SK_PASS;
}

char its_license[] SEC("license") = "Apache-2.0";
