/*
 * The message of a publish: {"Header":"..","Key":"..","Body":".."}, each a
 * string and each optional, nothing else.
 *
 * Read with yajl, through one handle for many messages. Strings without escapes
 * are borrowed from the input; nothing is copied on that path and nothing
 * allocated. Pure: no sockets, threads or clock.
 */
#ifndef KQ_PROTO_TEXT_MESSAGE_H
#define KQ_PROTO_TEXT_MESSAGE_H

#include "base/err.h"
#include "base/slice.h"

struct text_message {
    struct slice header; /* data NULL: the member is absent */
    struct slice key;
    struct slice body;
};

struct message_parser;

/* NULL: out of memory. One parser a thread. */
struct message_parser *message_parser_new(void);
void message_parser_free(struct message_parser **parser);

/*
 * The thread that has the parser. KQ_OK: *message points into json or, where a
 * string held escapes, into the parser; it is valid until the next parse and
 * while json lives. KQ_INVALID_RECORD: fault->text says what is wrong and at
 * which byte of the message (from 0). KQ_NO_MEMORY. After any result the parser
 * is ready for the next message.
 */
enum kq_err message_parse(struct message_parser *parser, const uint8_t *json, size_t json_bytes,
                          struct text_message *message, struct fault *fault);

#endif
