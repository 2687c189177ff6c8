/* Namespaces, a bridge and its cables, by the words of ip(8). */
#include "e2e/network.h"

#include "e2e/harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COMMAND_BYTES = 256 };

/* Runs one command; false: it said no. No word of it comes from outside. */
static bool ip(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool ip(const char *format, ...)
{
    char words[COMMAND_BYTES], command[COMMAND_BYTES + 32];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    (void)snprintf(command, sizeof(command), "ip %s >/dev/null 2>&1", words);
    int status = system(command);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void must(bool done)
{
    if (!done)
        harness_fail("a network namespace could not be set up");
}

/* The namespaces are kq-PID-N; number 0 has the bridge. */
static void remove_all(void)
{
    for (int i = 0; i <= NETWORK_PLACES; i++)
        (void)ip("netns del kq-%d-%d", (int)getpid(), i);
}

bool network_possible(void)
{
    static int known = -1;
    if (known >= 0)
        return known == 1;
    int pid = (int)getpid();
    bool can = geteuid() == 0 && ip("netns add kq-%d-0", pid) && ip("-n kq-%d-0 link add br0 type bridge", pid) &&
               ip("-n kq-%d-0 link set br0 up", pid);
    if (can)
        can = atexit(remove_all) == 0;
    else
        (void)ip("netns del kq-%d-0", pid);
    known = can ? 1 : 0;
    return can;
}

void network_make(int place)
{
    int pid = (int)getpid();
    must(network_possible() && place >= 1 && place <= NETWORK_PLACES);
    (void)ip("netns del kq-%d-%d", pid, place);
    (void)ip("-n kq-%d-0 link del port%d", pid, place);
    must(ip("netns add kq-%d-%d", pid, place));
    must(ip("-n kq-%d-0 link add port%d type veth peer name eth0 netns kq-%d-%d", pid, place, pid, place));
    must(ip("-n kq-%d-0 link set port%d master br0 up", pid, place));
    must(ip("-n kq-%d-%d addr add %s/24 dev eth0", pid, place, network_address(place)));
    must(ip("-n kq-%d-%d link set lo up", pid, place));
    must(ip("-n kq-%d-%d link set eth0 up", pid, place));
}

const char *network_path(int place)
{
    static char paths[NETWORK_PLACES + 1][NETWORK_NAME_BYTES];
    must(place >= 1 && place <= NETWORK_PLACES);
    (void)snprintf(paths[place], NETWORK_NAME_BYTES, "/run/netns/kq-%d-%d", (int)getpid(), place);
    return paths[place];
}

const char *network_address(int place)
{
    static char addresses[NETWORK_PLACES + 1][NETWORK_NAME_BYTES];
    must(place >= 1 && place <= NETWORK_PLACES);
    (void)snprintf(addresses[place], NETWORK_NAME_BYTES, "10.77.0.%d", place);
    return addresses[place];
}

void network_cut(int place)
{
    must(ip("-n kq-%d-0 link set port%d nomaster", (int)getpid(), place));
}

void network_heal(int place)
{
    must(ip("-n kq-%d-0 link set port%d master br0", (int)getpid(), place));
}

void network_cut_one_way(int from, int to)
{
    must(ip("-n kq-%d-%d route add blackhole %s/32", (int)getpid(), from, network_address(to)));
}

void network_heal_one_way(int from, int to)
{
    must(ip("-n kq-%d-%d route del blackhole %s/32", (int)getpid(), from, network_address(to)));
}

int64_t network_packets(int place)
{
    char command[COMMAND_BYTES], text[64] = "";
    (void)snprintf(command, sizeof(command), "ip netns exec kq-%d-%d cat /sys/class/net/eth0/statistics/tx_packets",
                   (int)getpid(), place);
    FILE *out = popen(command, "r");
    bool read = out != NULL && fgets(text, sizeof(text), out) != NULL;
    if (out != NULL)
        (void)pclose(out);
    return read ? strtoll(text, NULL, 10) : -1;
}
