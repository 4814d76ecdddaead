// SPDX-License-Identifier: Apache-2.0
// The maps, one set for the machine. The loader pins them and gives them to each object it loads.
#pragma once

#include "policy.h"

#ifdef INTERCEPTOR_BCC
#include "bcc.h"
#else

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM(hook, name) SEC(hook) int name
#define CHECKED_ONCE __attribute__((noinline))
// Kernels before 6.3 or so refuse a loop that comes back by what follows a call.
#define UNROLLED _Pragma("clang loop unroll(full)")

// By the cookie of the pod's network namespace: a number the kernel never uses twice until the
// machine is started anew. What is not here is let alone.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct policy);
} pods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4194304);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct fact_key);
	__type(value, __u32);
} facts SEC(".maps");

// Made and removed by user space with the pod; outlives a new policy.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct counters);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct original);
} originals SEC(".maps");

// An entry lives for microseconds. LRU, so that whatever goes wrong it is never full.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct pending_key);
	__type(value, struct original);
} pending SEC(".maps");

// The proxies' inbound listeners. The kernel takes them out when they are closed.
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, struct listener_key);
	__type(value, __u64);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TRACERS);
	__type(key, __u32);
	__type(value, struct trace);
} traces SEC(".maps");

// Made by the tracer and put here; nobody has the memory while nobody looks.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, TRACERS);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_RINGBUF);
		__uint(max_entries, 262144);
	});
} rings SEC(".maps");

// How many events each of them should have had and has not. A map of its own, because user space
// writes the whole of a value.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TRACERS);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

#endif
