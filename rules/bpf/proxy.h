// SPDX-License-Identifier: Apache-2.0
// The proxy's end: carry the original destination over to the socket it accepts, and tell it.
#pragma once

#include "outbound.h"

// linux/netfilter_ipv4.h, which wants a C library; IP6T_SO_ORIGINAL_DST is the same.
#define SO_ORIGINAL_DST 80
#define SOL_IP 0
#define SOL_IPV6 41
#define PAGE 4096

// Both ends of a connection in one form.
static __always_inline void ends(struct bpf_sock_ops *ops, struct address *local,
				 struct address *remote)
{
	volatile struct bpf_sock_ops *s = ops;
	__u32 local4 = s->local_ip4, remote4 = s->remote_ip4;
	__u32 l0 = s->local_ip6[0], l1 = s->local_ip6[1], l2 = s->local_ip6[2],
	      l3 = s->local_ip6[3];
	__u32 r0 = s->remote_ip6[0], r1 = s->remote_ip6[1], r2 = s->remote_ip6[2],
	      r3 = s->remote_ip6[3];
	if (s->family == AF_INET) {
		ipv4_address(local, local4);
		ipv4_address(remote, remote4);
	} else {
		*local = (struct address){{l0, l1, l2, l3}};
		*remote = (struct address){{r0, r1, r2, r3}};
	}
}

static __always_inline void client_key(struct bpf_sock_ops *ops, struct pending_key *key)
{
	struct address remote;
	ends(ops, &key->source, &remote);
	key->pod = bpf_get_netns_cookie(ops);
	key->source_port = ops->local_port;
	key->port = bpf_ntohl(ops->remote_port);
}

// The SYN is about to leave: the source port is known, and the proxy has not seen anything yet.
static __always_inline void syn_leaves(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	if (!sk)
		return;
	struct original *original = bpf_sk_storage_get(&originals, sk, 0, 0);
	if (!original || original->protocol != IPPROTO_TCP)
		return;
	struct pending_key key = {};
	struct original copy = *original;
	client_key(ops, &key);
	bpf_map_update_elem(&pending, &key, &copy, BPF_ANY);
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

// The connect failed: nobody will come for it.
static __always_inline void state_changes(struct bpf_sock_ops *ops)
{
	if (ops->args[0] != BPF_TCP_SYN_SENT || ops->args[1] != BPF_TCP_CLOSE)
		return;
	struct pending_key key = {};
	client_key(ops, &key);
	bpf_map_delete_elem(&pending, &key);
}

static __always_inline void accepted(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	if (!sk)
		return;
	struct pending_key key = {.pod = bpf_get_netns_cookie(ops)};
	struct policy *policy = bpf_map_lookup_elem(&pods, &key.pod);
	if (!policy)
		return;
	struct address local;
	ends(ops, &local, &key.source);
	key.source_port = bpf_ntohl(ops->remote_port);
	key.port = ops->local_port;
	struct original *found = bpf_map_lookup_elem(&pending, &key);
	if (!found)
		return;
	struct original *original =
		bpf_sk_storage_get(&originals, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (original) {
		*original = *found;
		original->is_proxys = 1;
	}
	bpf_map_delete_elem(&pending, &key);
}

// One is enough of those that share a port: the kernel spreads over them. Others are kept for
// when it is closed.
static __always_inline void listens(struct bpf_sock_ops *ops)
{
	struct listener_key key = {.pod = bpf_get_netns_cookie(ops), .family = ops->family};
	struct policy *policy = bpf_map_lookup_elem(&pods, &key.pod);
	if (!policy || ops->local_port != policy->inbound_port)
		return;
	UNROLLED
	for (int i = 0; i < LISTENER_SLOTS; i++) {
		key.slot = i;
		if (!bpf_sock_hash_update(ops, &listeners, &key, BPF_NOEXIST))
			return;
	}
	bpf_sock_hash_update(ops, &listeners, &key, BPF_ANY);
}

PROGRAM("sockops", tcp_events)(struct bpf_sock_ops *ops)
{
	if (ops->family != AF_INET && ops->family != AF_INET6)
		return 1;
	switch (ops->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		syn_leaves(ops);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		state_changes(ops);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		accepted(ops);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		listens(ops);
		break;
	}
	return 1;
}

// Volatile: clang would write both at once, and the context takes them one by one.
static __always_inline int answer(struct bpf_sockopt *ctx, int length)
{
	volatile struct bpf_sockopt *out = ctx;
	out->optlen = length;
	out->retval = 0;
	return ALLOW;
}

// SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST have one number, at two levels.
static __always_inline int original_destination(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	if (!sk || sk->protocol != IPPROTO_TCP)
		return ALLOW;
	struct original to = {};
	struct original *original = bpf_sk_storage_get(&originals, sk, 0, 0);
	if (original) {
		to = *original;
	} else {
		// What netfilter has an answer for is netfilter's.
		if (!ctx->retval)
			return ALLOW;
		// Taken as it came, with the destination in its own address.
		__u64 pod = bpf_get_netns_cookie(ctx);
		if (!bpf_map_lookup_elem(&pods, &pod))
			return ALLOW;
		if (sk->state == BPF_TCP_LISTEN || sk->state == BPF_TCP_CLOSE)
			return ALLOW;
		socket_address(sk, &to.address);
		to.port = bpf_htons(sk->src_port);
	}
	void *end = ctx->optval_end;
	if (ctx->level == SOL_IP) {
		struct sockaddr_in *out = ctx->optval;
		if (!is_ipv4(&to.address) || (void *)(out + 1) > end)
			return ALLOW;
		__builtin_memset(out, 0, sizeof(*out));
		out->sin_family = AF_INET;
		out->sin_port = to.port;
		out->sin_addr.s_addr = to.address.word[3];
		return answer(ctx, sizeof(*out));
	}
	struct sockaddr_in6 *out = ctx->optval;
	if (is_ipv4(&to.address) || (void *)(out + 1) > end)
		return ALLOW;
	__builtin_memset(out, 0, sizeof(*out));
	out->sin6_family = AF_INET6;
	out->sin6_port = to.port;
	__builtin_memcpy(&out->sin6_addr, &to.address, 16);
	return answer(ctx, sizeof(*out));
}

PROGRAM("cgroup/getsockopt", getsockopt)(struct bpf_sockopt *ctx)
{
	if (ctx->optname == SO_ORIGINAL_DST && (ctx->level == SOL_IP || ctx->level == SOL_IPV6))
		return original_destination(ctx);
	// Kernels before 6.5 fail a getsockopt with more than a page unless a program says that it
	// has left all as it is. That is how iptables-legacy reads long tables.
	if (ctx->optlen > PAGE)
		ctx->optlen = 0;
	return ALLOW;
}
