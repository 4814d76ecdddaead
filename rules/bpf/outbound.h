// SPDX-License-Identifier: Apache-2.0
// What a process in a pod asks for: connect(), sendto(), and what it is told of the other end.
#pragma once

#include "decide.h"

#define AF_INET 2
#define AF_INET6 10
#define MOST_TRIES 4
#define ALLOW 1
#define DENY 0

static __always_inline void ipv4_address(struct address *a, __be32 ip)
{
	*a = (struct address){{0, 0, MAPPED, ip}};
}

// Volatile, here and in what else reads one of two fields: of `six ? src_ip6[3] : src_ip4` clang
// makes one load, at an offset that was worked out before, and the verifier refuses those.
static __always_inline void socket_address(struct bpf_sock *sk, struct address *a)
{
	volatile struct bpf_sock *v = sk;
	__u32 ip4 = v->src_ip4;
	__u32 w0 = v->src_ip6[0], w1 = v->src_ip6[1], w2 = v->src_ip6[2], w3 = v->src_ip6[3];
	if (v->family == AF_INET)
		ipv4_address(a, ip4);
	else
		*a = (struct address){{w0, w1, w2, w3}};
}

// Decide by one whole policy: if it was replaced meanwhile, again by the new one. Gives 0 for a
// namespace that is no pod of ours.
static __always_inline __u64 decide_for(__u64 pod, const struct connection *c, struct decision *d,
					struct address *bind_to)
{
	UNROLLED
	for (int i = 0; i < MOST_TRIES; i++) {
		struct policy *policy = bpf_map_lookup_elem(&pods, &pod);
		if (!policy)
			return 0;
		__u64 generation = policy->generation;
		decide_outbound(policy, c, d);
		*bind_to = is_ipv4(&c->address) ? policy->source4 : policy->source6;
		if (still_holds(pod, generation))
			return pod;
	}
	decide(d, REFUSED, REASON_UNSETTLED, 0);
	return pod;
}

static __always_inline void account(__u64 pod, const struct connection *c,
				    const struct decision *d, __u16 source_port)
{
	if (!d->reason)
		return;
	count(pod, d->reason);
	if (!is_traced(pod))
		return;
	struct event event = event_of(pod, c, d, source_port);
	event.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(event.command, sizeof(event.command));
	tell(&event);
}

// Have the connection come from the pod's address, as a redirected one does under netfilter. It
// fails, and nothing is lost, where the process has bound the socket itself.
static __always_inline void bind_source(struct bpf_sock_addr *ctx, const struct address *a,
					int family)
{
	if (!a->word[0] && !a->word[1] && !a->word[2])
		return;
	if (family == AF_INET) {
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = a->word[3]};
		bpf_bind(ctx, (struct sockaddr *)&to, sizeof(to));
	} else {
		struct sockaddr_in6 to = {.sin6_family = AF_INET6};
		__builtin_memcpy(&to.sin6_addr, a, 16);
		bpf_bind(ctx, (struct sockaddr *)&to, sizeof(to));
	}
}

// `family` is the program's, known when it is compiled: one for IPv4 may not even mention user_ip6.
static __always_inline void set_destination(struct bpf_sock_addr *ctx, const struct address *a,
					    __be16 port, int family)
{
	if (family == AF_INET) {
		ctx->user_ip4 = a->word[3];
	} else {
		ctx->user_ip6[0] = a->word[0];
		ctx->user_ip6[1] = a->word[1];
		ctx->user_ip6[2] = a->word[2];
		ctx->user_ip6[3] = a->word[3];
	}
	ctx->user_port = port;
}

static __always_inline void redirect(struct bpf_sock_addr *ctx, const struct connection *c,
				     const struct decision *d, int family)
{
	struct address localhost = {{0, 0, 0, bpf_htonl(1)}};
	if (is_ipv4(&c->address))
		ipv4_address(&localhost, bpf_htonl(0x7f000001));
	set_destination(ctx, &localhost, bpf_htons(d->port), family);
}

static __always_inline int outbound(struct bpf_sock_addr *ctx, const struct address *to, int family,
				    int is_connect)
{
	__u64 pod = bpf_get_netns_cookie(ctx);
	if (!bpf_map_lookup_elem(&pods, &pod))
		return ALLOW;
	struct bpf_sock *sk = ctx->sk;
	if (!sk)
		return ALLOW;
	__u16 protocol = ctx->protocol == IPPROTO_UDP ? IPPROTO_UDP : IPPROTO_TCP;
	// 262 is IPPROTO_MPTCP, which is TCP to whoever is on the way.
	if (protocol == IPPROTO_TCP && ctx->protocol != IPPROTO_TCP && ctx->protocol != 262)
		return ALLOW;

	__u64 ids = bpf_get_current_uid_gid();
	struct connection c = {
		.address = *to,
		.uid = ids,
		.gid = ids >> 32,
		.mark = sk->mark,
		.port = bpf_ntohs(ctx->user_port),
		.protocol = protocol,
	};
	no_address_is_localhost(&c.address);
	socket_address(sk, &c.source);

	struct decision d = {};
	struct address bind_to;
	if (!decide_for(pod, &c, &d, &bind_to))
		return ALLOW;
	account(pod, &c, &d, sk->src_port);
	if (d.verdict == REFUSED)
		return DENY;
	if (d.verdict == DIRECT) {
		// Only a new connect() makes the socket forget. A datagram of a connected socket
		// comes by here too, with the address that was put in the place of the first.
		if (is_connect)
			bpf_sk_storage_delete(&originals, sk);
		return ALLOW;
	}
	struct original *original =
		bpf_sk_storage_get(&originals, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!original)
		return DENY;
	original->address = c.address;
	original->port = ctx->user_port;
	original->protocol = protocol;
	original->is_proxys = 0;
	// Datagrams too, or the socket could not be connected to the world any more: its source would
	// be localhost for good. The DNS listener is on localhost, as with netfilter.
	if (is_connect)
		bind_source(ctx, &bind_to, family);
	redirect(ctx, &c, &d, family);
	return ALLOW;
}

static __always_inline void user_address6(struct bpf_sock_addr *ctx, struct address *a)
{
	a->word[0] = ctx->user_ip6[0];
	a->word[1] = ctx->user_ip6[1];
	a->word[2] = ctx->user_ip6[2];
	a->word[3] = ctx->user_ip6[3];
}

PROGRAM("cgroup/connect4", connect4)(struct bpf_sock_addr *ctx)
{
	struct address to;
	ipv4_address(&to, ctx->user_ip4);
	return outbound(ctx, &to, AF_INET, 1);
}

PROGRAM("cgroup/connect6", connect6)(struct bpf_sock_addr *ctx)
{
	struct address to;
	user_address6(ctx, &to);
	return outbound(ctx, &to, AF_INET6, 1);
}

PROGRAM("cgroup/sendmsg4", sendmsg4)(struct bpf_sock_addr *ctx)
{
	struct address to;
	ipv4_address(&to, ctx->user_ip4);
	return outbound(ctx, &to, AF_INET, 0);
}

PROGRAM("cgroup/sendmsg6", sendmsg6)(struct bpf_sock_addr *ctx)
{
	struct address to;
	user_address6(ctx, &to);
	return outbound(ctx, &to, AF_INET6, 0);
}

// Say where it was going in the place of where it went.
static __always_inline int show_original(struct bpf_sock_addr *ctx, int family,
					 int is_answer)
{
	struct bpf_sock *sk = ctx->sk;
	if (!sk)
		return ALLOW;
	struct original *original = bpf_sk_storage_get(&originals, sk, 0, 0);
	if (!original || original->is_proxys)
		return ALLOW;
	if (is_answer) {
		// Others may write to the same socket.
		struct address from;
		__u64 pod = bpf_get_netns_cookie(ctx);
		struct policy *policy = bpf_map_lookup_elem(&pods, &pod);
		if (original->protocol != IPPROTO_UDP)
			return ALLOW;
		if (policy && ctx->user_port != bpf_htons(policy->dns_port))
			return ALLOW;
		if (family == AF_INET)
			ipv4_address(&from, ctx->user_ip4);
		else
			user_address6(ctx, &from);
		if (!is_loopback(&from))
			return ALLOW;
	}
	set_destination(ctx, &original->address, original->port, family);
	return ALLOW;
}

PROGRAM("cgroup/recvmsg4", recvmsg4)(struct bpf_sock_addr *ctx)
{
	return show_original(ctx, AF_INET, 1);
}

PROGRAM("cgroup/recvmsg6", recvmsg6)(struct bpf_sock_addr *ctx)
{
	return show_original(ctx, AF_INET6, 1);
}

PROGRAM("cgroup/getpeername4", getpeername4)(struct bpf_sock_addr *ctx)
{
	return show_original(ctx, AF_INET, 0);
}

PROGRAM("cgroup/getpeername6", getpeername6)(struct bpf_sock_addr *ctx)
{
	return show_original(ctx, AF_INET6, 0);
}
