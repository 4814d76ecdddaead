// SPDX-License-Identifier: Apache-2.0
// What user space writes and programs read. interceptor/backends/ebpf/layout.py packs the same
// bytes; LAYOUT changes whenever one of these does.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#define LAYOUT 3
#define MOST_MARKS 16

// Addresses are always 16 bytes; IPv4 ones as ::ffff:a.b.c.d, as a socket of both families has them.
struct address {
	__u32 word[4];
};

struct mark {
	__u32 value;
	__u32 mask;
};

enum policy_flags {
	POLICY_IPV4 = 1 << 0,
	POLICY_IPV6 = 1 << 1,
	POLICY_INBOUND = 1 << 2, // some inbound port is captured
	POLICY_DNS = 1 << 3,     // some resolver is captured
};

// One pod. All that is not bounded is in the map `facts`, under this generation.
struct policy {
	// Never used twice, not even by another pod: whoever finds the same number again after
	// looking at everything has looked at one policy, and not at halves of two.
	__u64 generation;
	__u32 flags;
	__u16 outbound_port;
	__u16 inbound_port;
	__u16 dns_port;
	__u16 marks;
	// What holds of a number that `facts` says nothing of, see enum fact_kind.
	__u32 usual[5];
	// Where a connection that is sent to the proxy seems to come from; all zero if nowhere.
	struct address source4;
	struct address source6;
	struct mark mark[MOST_MARKS];
};

enum fact_kind {
	FACT_UID,
	FACT_GID,
	FACT_PORT,
	FACT_IPV4,
	FACT_IPV6,
};

// A prefix of a user, group, port or address. The longest one says all that holds; user space
// has put into it what shorter ones say.
struct fact_key {
	__u32 length; // in bits, of all that follows
	__u32 kind;
	__u64 generation;
	__u8 number[16]; // as many bytes as the kind has, most significant first
};

enum id_facts {
	ID_PROXY = 1 << 0,
	ID_EXCLUDED = 1 << 1,
	ID_INCLUDED = 1 << 2,
};

enum port_facts {
	PORT_INBOUND = 1 << 0,
	PORT_INBOUND_EXCLUDED = 1 << 1,
	PORT_OUTBOUND = 1 << 2,
	PORT_OUTBOUND_EXCLUDED = 1 << 3,
};

enum network_facts {
	NET_INCLUDED = 1 << 0,
	NET_EXCLUDED = 1 << 1,
	NET_RESOLVER = 1 << 2,
	NET_LOCALHOST = 1 << 3,
	NET_LOOPBACK_INCLUDED = 1 << 4,
	NET_OWN = 1 << 5, // an address of the pod itself
	NET_SOURCE_EXCLUDED = 1 << 6,
};

// Why a decision was what it was; the index of a pod's counters.
enum reason {
	REASON_NONE,
	// to the proxy
	REASON_INBOUND,
	REASON_SELF_CALL,
	REASON_DNS,
	REASON_NETWORK,
	REASON_PORT,
	REASON_LOOPBACK,
	// direct
	REASON_PROXY_USER,
	REASON_PROXY_GROUP,
	REASON_PROXY_MARK,
	REASON_HANDOVER,
	REASON_EXCLUDED_USER,
	REASON_EXCLUDED_GROUP,
	REASON_OTHER_GROUP,
	REASON_EXCLUDED_PORT,
	REASON_EXCLUDED_NETWORK,
	REASON_OWN_POD,
	REASON_NOT_INCLUDED,
	REASON_KEPT_PORT,
	REASON_INBOUND_NOT_INCLUDED,
	REASON_EXCLUDED_SOURCE,
	// refused
	REASON_NO_LISTENER,
	REASON_UNSETTLED,
	REASONS,
};

enum verdict {
	DIRECT,
	TO_OUTBOUND,
	TO_INBOUND,
	TO_DNS,
	REFUSED,
};

struct counters {
	__u64 count[REASONS];
};

// Where a redirected socket was going, kept with the socket by the kernel.
struct original {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 is_proxys; // the socket is the proxy's end: its peer is the client indeed
};

// A connection to the proxy between the client's SYN and the proxy's end of it.
struct pending_key {
	__u64 pod;
	struct address source;
	__u16 source_port;
	__u16 port;
	__u32 unused;
};

#define LISTENER_SLOTS 8

struct listener_key {
	__u64 pod;
	__u32 family;
	__u32 slot;
};

// One for the machine.
struct state {
	__u64 layout;
	__u64 last_generation;
	__u64 changing; // not 0 while user space changes something: what is left of it is to be swept
	__u8 digest[32]; // of the objects whose programs are attached
};

// As many may look at decisions at once, each by a ring buffer of its own.
#define TRACERS 8

// What one of them wants to see; only user space writes it.
struct trace {
	__u64 until; // CLOCK_MONOTONIC in ns, 0 if there is none; who dies stops renewing it
	__u64 pod;   // 0 for all
};

struct event {
	__u64 time;
	__u64 pod;
	struct address source;
	struct address address;
	__u32 pid;
	__u32 uid;
	__u32 gid;
	__u16 source_port;
	__u16 port;
	__u8 protocol;
	__u8 inbound;
	__u8 verdict;
	__u8 reason;
	char command[16];
	__u16 listener; // the port of the proxy's that it goes to, 0 if to none
	__u16 unused;
};
