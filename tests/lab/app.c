/* All there is in the tests' images: an app that is called and calls, and one that waits.
 *
 *   app                      waits until it is told to end
 *   app serve PORT           answers each connection with a line of JSON, as a recorder does
 *   app call ADDRESS PORT    connects (IPv4) and prints what it is told
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int number)
{
    (void)number;
    _exit(0);
}

static int serve(int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 64))
        return 1;
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        char name[INET_ADDRSTRLEN];
        int made = accept(listener, (struct sockaddr *)&peer, &length);
        if (made < 0)
            continue;
        inet_ntop(AF_INET, &peer.sin_addr, name, sizeof name);
        dprintf(made, "{\"who\": \"app\", \"port\": %d, \"original\": \"-\", \"peer\": \"%s\"}",
                port, name);
        close(made);
    }
}

static int call(const char *address, int port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct timeval limit = { .tv_sec = 5 };
    int made = socket(AF_INET, SOCK_STREAM, 0);
    char heard[512];
    ssize_t count;
    inet_pton(AF_INET, address, &to.sin_addr);
    setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(made, (struct sockaddr *)&to, sizeof to)) {
        perror("connect");
        return 1;
    }
    while ((count = read(made, heard, sizeof heard)) > 0)
        if (write(1, heard, count) != count)
            return 1;
    return count < 0;
}

int main(int count, char **words)
{
    /* The first process of a container has no default actions. */
    signal(SIGTERM, end);
    signal(SIGINT, end);
    if (count == 3 && !strcmp(words[1], "serve"))
        return serve(atoi(words[2]));
    if (count == 4 && !strcmp(words[1], "call"))
        return call(words[2], atoi(words[3]));
    for (;;)
        pause();
}
