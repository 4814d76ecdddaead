// SPDX-License-Identifier: Apache-2.0
// The programs of the whole machine, at the root of the cgroup tree: they see every process, and
// act for those whose network namespace is in the map `pods`.
#include "proxy.h"

// None of the helpers used here asks for the GPL.
char its_license[] SEC("license") = "Apache-2.0";
