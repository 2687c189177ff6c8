/* Who speaks on a connection, from its first bytes: so that a Kafka client, a browser or
 * a TLS client that came to the wrong port is told so in a line, and not by silence. */
#include "proto/text/command.h"

#include <string.h>

enum text_stranger text_stranger_detect(const uint8_t *first, size_t size_bytes)
{
    static const char *const methods[] = {"GET /",   "POST /",   "HEAD /", "PUT /",    "DELETE /",
                                          "PATCH /", "OPTIONS ", "TRACE ", "CONNECT ", "PRI * HTTP/2."};
    if (size_bytes == 0)
        return TEXT_STRANGER_UNSURE;
    /* A Kafka request: its size (below 16 MiB, so the first byte is 0), then a
     * key and a version, each of two bytes and small. */
    if (first[0] == 0) {
        bool small = (size_bytes < 5 || first[4] == 0) && (size_bytes < 7 || first[6] == 0);
        return !small ? TEXT_STRANGER_NONE : size_bytes < 8 ? TEXT_STRANGER_UNSURE : TEXT_STRANGER_KAFKA;
    }
    if (first[0] == 0x16)
        return size_bytes < 2 ? TEXT_STRANGER_UNSURE : first[1] == 3 ? TEXT_STRANGER_TLS : TEXT_STRANGER_NONE;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        size_t len = strlen(methods[i]);
        if (memcmp(first, methods[i], size_bytes < len ? size_bytes : len) == 0)
            return size_bytes < len ? TEXT_STRANGER_UNSURE : TEXT_STRANGER_HTTP;
    }
    return TEXT_STRANGER_NONE;
}

const char *text_stranger_text(enum text_stranger stranger)
{
    switch (stranger) {
    case TEXT_STRANGER_KAFKA:
        return "these are bytes of the Kafka protocol, and this port speaks Kafkaesque's text protocol: one command a "
               "line, HELP lists them; a Kafka client cannot use it";
    case TEXT_STRANGER_HTTP:
        return "this is an HTTP request, and this port speaks Kafkaesque's text protocol: one command a line, HELP "
               "lists them; use telnet, nc or the kafkaesque client";
    case TEXT_STRANGER_TLS:
        return "these are bytes of TLS, and this port speaks Kafkaesque's text protocol in the clear: one command a "
               "line, HELP lists them";
    case TEXT_STRANGER_NONE:
    case TEXT_STRANGER_UNSURE:
        break;
    }
    return "this port speaks Kafkaesque's text protocol: one command a line, HELP lists them";
}
