/*
 * A line client with deadlines, for tests and benchmarks: sends raw bytes, reads
 * reply lines of any length, and never blocks for ever. While it sends it also
 * takes in what arrives, so that a long pipeline cannot lock both sides.
 *
 * One thread a client. Texts that are returned live until the next call with
 * the same client.
 */
#ifndef KQ_TESTS_E2E_CLIENT_H
#define KQ_TESTS_E2E_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

struct client;

/* Calls harness_fail when nothing listens. */
struct client *client_open(int port);
/* The same inside of a network namespace, by its path; NULL: this program's own. */
struct client *client_open_in(const char *network, int port);
struct client *client_try_open_in(const char *network, int port);
/* NULL: could not connect; errno says why. receive_bytes > 0 sets SO_RCVBUF. */
struct client *client_try_open(int port, int receive_bytes);
void client_close(struct client **c);
int client_fd(const struct client *c);

/* False: the other side closed, or did not take it within REPLY_MS. */
bool client_send(struct client *c, const void *bytes, size_t size);
bool client_send_text(struct client *c, const char *text);

/* The next line without its line end. NULL: closed, or none within wait_ms. */
const char *client_line(struct client *c, int wait_ms);
/* Length of the line last returned; it may hold NULs. */
size_t client_line_bytes(const struct client *c);

/* Sends the formatted line with an LF; the next line that is no event, within
 * REPLY_MS; "(no reply)" when there is none. Events are kept, see below. */
const char *client_ask(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The next line that is no event; "(no reply)" when there is none. */
const char *client_reply(struct client *c);

/* The oldest event ({"Event":...) not yet taken, waiting for one up to wait_ms;
 * NULL: none. A line that is no event meanwhile ends the wait and stays. */
const char *client_event(struct client *c, int wait_ms);

/* True: the other side closes within wait_ms and sends nothing more before. */
bool client_ends(struct client *c, int wait_ms);
/* True: the other side was seen to close; what it sent before may still be read. */
bool client_closed(const struct client *c);
/* True: nothing at all arrives within wait_ms and the session stays open. */
bool client_quiet(struct client *c, int wait_ms);

#endif
