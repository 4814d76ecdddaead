// SPDX-License-Identifier: Apache-2.0
// Both ends of very many connections, as little as can be: what is measured is not to be this.
//
//   serve CPU AWAKE PORT...   as a proxy: accept, ask for the original destination, answer one byte;
//                             so many microseconds nothing may come before it goes to sleep
//   call CPU HOST PORT MS THREADS byte|connect   connect, wait for the byte, reset; and again
//
// The byte comes after another core woke up, and this one again, which takes longer than all that
// differs between ways to a proxy that does nothing: so the time may end when connect returns.
//
// `call` writes, all in nanoseconds, how long all took (8 bytes) and each connection (4 bytes).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 2000000
#define MOST_THREADS 64
#define UNTIMED 20
#define SO_ORIGINAL_DST 80

// Close by a reset: nothing stays in TIME_WAIT, or ports run out.
static const struct linger reset = {.l_onoff = 1, .l_linger = 0};

// One core, and before all others there: they are to be no part of what is measured.
static void pin(const char *cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(atoi(cpu), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "sched_setaffinity");
	if (sched_setscheduler(0, SCHED_RR, &(struct sched_param){.sched_priority = 1}))
		err(1, "sched_setscheduler");
}

static int listen_at(int port)
{
	int yes = 1, s = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(s, (struct sockaddr *)&at, sizeof(at)) || listen(s, 4096))
		err(1, "listen at %d", port);
	return s;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void add(int poll, int s, int is_listener)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)is_listener << 32 | s};
	if (epoll_ctl(poll, EPOLL_CTL_ADD, s, &event))
		err(1, "epoll_ctl");
}

static int serve(uint64_t awake, int ports, char **port)
{
	uint64_t last = 0;
	int poll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < ports; i++)
		add(poll, listen_at(atoi(port[i])), 1);
	add(poll, STDIN_FILENO, 0);
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	for (;;) {
		struct epoll_event events[64];
		// To wake another core takes longer than what is measured, unless it is not asleep.
		int found = epoll_wait(poll, events, 64, now() - last < awake ? 0 : -1);
		if (found > 0)
			last = now();
		for (int i = 0; i < found; i++) {
			int s = (uint32_t)events[i].data.u64;
			if (s == STDIN_FILENO)
				return 0;
			if (events[i].data.u64 >> 32) {
				struct sockaddr_in asked;
				socklen_t size = sizeof(asked);
				int made = accept4(s, 0, 0, SOCK_CLOEXEC);
				if (made < 0)
					continue;
				setsockopt(made, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
				getsockopt(made, SOL_IP, SO_ORIGINAL_DST, &asked, &size);
				// The client hangs up first: who does would keep the port.
				send(made, "!", 1, MSG_NOSIGNAL);
				add(poll, made, 0);
			} else {
				close(s);
			}
		}
	}
}

static struct sockaddr_in to;
static uint64_t ends;
static int until_byte;

struct caller {
	pthread_t thread;
	uint32_t *took;
	uint32_t count;
};

static uint32_t once(void)
{
	struct timeval patience = {.tv_sec = 5};
	char byte;
	uint64_t began = now();
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(s, (struct sockaddr *)&to, sizeof(to)))
		err(1, "connect");
	uint64_t took = now() - began;
	if (recv(s, &byte, 1, 0) != 1)
		err(1, "no answer");
	if (until_byte)
		took = now() - began;
	setsockopt(s, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(s);
	return took > UINT32_MAX ? UINT32_MAX : took;
}

static void *call(void *argument)
{
	struct caller *caller = argument;
	while (caller->count < MOST && now() < ends)
		caller->took[caller->count++] = once();
	return 0;
}

static void put(const void *data, size_t size)
{
	for (ssize_t done; size; data = (const char *)data + done, size -= done)
		if ((done = write(STDOUT_FILENO, data, size)) < 0)
			err(1, "write");
}

int main(int arguments, char **argument)
{
	if (arguments < 5)
		errx(2, "serve CPU AWAKE PORT... | call CPU HOST PORT MS THREADS byte|connect");
	pin(argument[2]);
	if (!strcmp(argument[1], "serve"))
		return serve(atoi(argument[3]) * 1000ull, arguments - 4, argument + 4);
	if (arguments != 8)
		errx(2, "call CPU HOST PORT MS THREADS byte|connect");
	until_byte = !strcmp(argument[7], "byte");
	int threads = atoi(argument[6]);
	static struct caller callers[MOST_THREADS];
	to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argument[4]))};
	if (threads > MOST_THREADS || inet_pton(AF_INET, argument[3], &to.sin_addr) != 1)
		errx(2, "not so");
	for (int i = 0; i < UNTIMED; i++)
		once();
	uint64_t began = now();
	ends = began + atoi(argument[5]) * 1000000ull;
	for (int i = 0; i < threads; i++) {
		// Pages nobody writes to cost nothing.
		callers[i].took = malloc(MOST * sizeof(uint32_t));
		if (!callers[i].took || pthread_create(&callers[i].thread, 0, call, &callers[i]))
			errx(1, "no thread");
	}
	for (int i = 0; i < threads; i++)
		pthread_join(callers[i].thread, 0);
	uint64_t all = now() - began;
	put(&all, sizeof(all));
	for (int i = 0; i < threads; i++)
		put(callers[i].took, callers[i].count * sizeof(uint32_t));
}
