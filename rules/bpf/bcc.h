// SPDX-License-Identifier: Apache-2.0
// What differs where bcc compiles: it has declarations of its own for the kernel's functions, makes
// every program a section of its own, and knows no calls between programs and no constants that
// are filled in later. The loader says by number which open maps there are, and which pod.
#pragma once

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define SEC(name) __attribute__((section(name), used))
#define PROGRAM(hook, name) SEC(".bpf.fn." #name) int name
#define CHECKED_ONCE static __always_inline
#define UNROLLED _Pragma("clang loop unroll(full)")
#define THIS_POD INTERCEPTOR_POD

// To its loader this number is a map.
#define OPEN_MAP(descriptor) (*(char *)bpf_pseudo_fd(1, descriptor))

#define pods OPEN_MAP(INTERCEPTOR_MAP_pods)
#define facts OPEN_MAP(INTERCEPTOR_MAP_facts)
#define counts OPEN_MAP(INTERCEPTOR_MAP_counts)
#define originals OPEN_MAP(INTERCEPTOR_MAP_originals)
#define pending OPEN_MAP(INTERCEPTOR_MAP_pending)
#define listeners OPEN_MAP(INTERCEPTOR_MAP_listeners)
#define states OPEN_MAP(INTERCEPTOR_MAP_states)
#define traces OPEN_MAP(INTERCEPTOR_MAP_traces)
#define rings OPEN_MAP(INTERCEPTOR_MAP_rings)
#define losses OPEN_MAP(INTERCEPTOR_MAP_losses)
