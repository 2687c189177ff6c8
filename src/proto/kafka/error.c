/* The table as rows that a code finds by its number. */
#include "proto/kafka/error.h"

#include <stddef.h>

struct row {
    const char *name;
    bool retriable;
};

/* Codes begin at -1. */
#define ROW(code_name, code, may_retry) [(code) + 1] = {#code_name, (may_retry) == KAFKA_RETRIABLE},
static const struct row rows[KAFKA_ERR_END + 1] = {KAFKA_ERROR_TABLE(ROW)};

static const struct row *row_of(int16_t code)
{
    return code >= -1 && code < KAFKA_ERR_END ? &rows[code + 1] : NULL;
}

const char *kafka_error_name(int16_t code)
{
    const struct row *row = row_of(code);
    return row != NULL ? row->name : "UNKNOWN";
}

bool kafka_error_retriable(int16_t code)
{
    const struct row *row = row_of(code);
    return row != NULL && row->retriable;
}
