/*
 * Networks that can be cut: each place (a number from 1 to NETWORK_PLACES) is a
 * network namespace with an address of its own, and a bridge in one more joins
 * them. Nothing of the machine's own network is touched, and nothing stays when
 * the program ends. Main thread only; what cannot be done calls harness_fail.
 */
#ifndef KQ_TESTS_E2E_NETWORK_H
#define KQ_TESTS_E2E_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

enum { NETWORK_PLACES = 8, NETWORK_NAME_BYTES = 64 };

/* False: no network namespaces here (they need root and `ip`). */
bool network_possible(void);

/* An empty place, joined to the others; one of that number from before is gone. */
void network_make(int place);
/* The path of its namespace, for setns(). Lives as long as the program. */
const char *network_path(int place);
/* Its address. */
const char *network_address(int place);

/* As a cable that is pulled out, and put back: nothing is refused, nothing arrives. */
void network_cut(int place);
void network_heal(int place);
/* What `from` sends does not reach `to`; the other way goes on. */
void network_cut_one_way(int from, int to);
void network_heal_one_way(int from, int to);

/* Packets that it has sent to the others. */
int64_t network_packets(int place);

#endif
