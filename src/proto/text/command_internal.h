/* What command.c (lines, fields, most verbs) and command_cluster.c (CLUS) share. */
#ifndef KQ_PROTO_TEXT_COMMAND_INTERNAL_H
#define KQ_PROTO_TEXT_COMMAND_INTERNAL_H

#include "proto/text/command.h"

enum {
    TEXT_FIELDS_MAX = 8,     /* CRTP: name, topic, two numbers, four settings */
    TEXT_EXCERPT_BYTES = 48, /* of a client's text in an error */
};

struct text_fields {
    struct slice at[TEXT_FIELDS_MAX]; /* [0] is the verb */
    size_t count;
};

/* Present and not empty. */
static inline bool text_have(const struct text_fields *f, size_t idx)
{
    return idx < f->count && f->at[idx].len > 0;
}

static inline enum kq_err text_say(struct fault *fault, const char *text)
{
    return fault_set(fault, KQ_INVALID, "%s", text);
}

/* ---- command.c ------------------------------------------------------------------- */

/* Decimal digits with an optional minus, between least and most. */
bool text_parse_number(struct slice text, int64_t least, int64_t most, int64_t *value);
/* A field that is a number from 0; the fault names what it is. */
enum kq_err text_take_number(struct slice text, const char *what, int64_t most, int64_t *value, struct fault *fault);
/* How much of a client's text an error shows: whole characters only; and what follows it. */
int text_excerpt(struct slice text);
const char *text_ellipsis(struct slice text);
/* What is quoted in an error, for `%.*s%s`. */
#define SHOWN(text) text_excerpt(text), (const char *)(text).data, text_ellipsis(text)

/* ---- command_cluster.c ------------------------------------------------------------- */

enum kq_err text_parse_cluster(const struct text_fields *f, const struct text_limits *limits,
                               struct text_command *command, struct fault *fault);

#endif
