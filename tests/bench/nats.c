/*
 * NATS on the wire: lines, and payloads with a length before them. A publish to
 * a stream is a PUB with a reply subject, to which the server sends the
 * acknowledgement: {"stream":"bench","seq":1}. It comes once a majority of the
 * stream's servers has the message in memory; they do not wait for the disk.
 */
#include "bench/nats.h"

#include "e2e/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INBOX "_INBOX.b"

bool nats_greet(struct client *c)
{
    const char *line = client_line(c, REPLY_MS);
    if (line == NULL || strncmp(line, "INFO ", 5) != 0)
        return false;
    if (!client_send_text(c, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\"}\r\n"
                             "SUB " INBOX ".* 1\r\nPING\r\n"))
        return false;
    do
        line = client_line(c, REPLY_MS);
    while (line != NULL && strncmp(line, "INFO ", 5) == 0);
    return line != NULL && strcmp(line, "PONG") == 0;
}

size_t nats_put_publish(char *out, const char *target, size_t size)
{
    size_t used = (size_t)snprintf(out, 256, "PUB %s " INBOX ".a %zu\r\n", target, size);
    memset(out + used, 'x', size);
    used += size;
    memcpy(out + used, "\r\n", 2);
    return used + 2;
}

/* The payload's length at the end of "MSG subject sid [reply] length". */
static size_t payload_bytes(const char *line, const char *lf)
{
    const char *at = lf;
    while (at > line && at[-1] != ' ')
        at--;
    return strtoul(at, NULL, 10);
}

size_t nats_take_reply(const char *in, size_t n, bool *ok)
{
    size_t at = 0;
    for (;;) {
        const char *line = in + at, *lf = memchr(line, '\n', n - at);
        if (lf == NULL)
            return 0;
        at = (size_t)(lf + 1 - in);
        if (strncmp(line, "-ERR", 4) == 0) {
            *ok = false;
            return at;
        }
        if (strncmp(line, "MSG ", 4) != 0)
            continue; /* INFO: the servers it knows of changed */
        size_t payload = payload_bytes(line, lf);
        if (at + payload + 2 > n)
            return 0;
        *ok = memmem(in + at, payload, "\"seq\":", 6) != NULL && memmem(in + at, payload, "\"error\"", 7) == NULL;
        return at + payload + 2;
    }
}

const char *nats_ask(struct client *c, const char *api, const char *json, int wait_ms)
{
    char out[1024];
    static unsigned question;
    char inbox[64];
    int64_t deadline = now_us() + (int64_t)wait_ms * 1000;
    (void)snprintf(inbox, sizeof(inbox), "MSG " INBOX ".q%u ", ++question);
    (void)snprintf(out, sizeof(out), "PUB $JS.API.%s " INBOX ".q%u %zu\r\n%s\r\n", api, question, strlen(json), json);
    if (!client_send_text(c, out))
        return NULL;
    bool ours = false;
    for (;;) { /* what answers an earlier question is passed over */
        int64_t left_ms = (deadline - now_us()) / 1000;
        const char *line = client_line(c, left_ms > 0 ? (int)left_ms : 0);
        if (line == NULL || (ours && line[0] == '{'))
            return line;
        ours = strncmp(line, inbox, strlen(inbox)) == 0;
    }
}
