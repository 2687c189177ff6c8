/* A list and a place in it. */
#include "client/brokers.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

void brokers_init(struct brokers *brokers)
{
    *brokers = (struct brokers){.list = {{.host = "127.0.0.1", .port = "8080"}}, .count = 1};
}

enum kq_err brokers_parse(struct brokers *brokers, const char *text, struct fault *fault)
{
    struct brokers parsed = {.count = 0};
    for (const char *at = text;; at++) {
        char one[WIRE_HOST_BYTES + 16];
        size_t len = strcspn(at, ",");
        if (len == 0 || len >= sizeof(one))
            return fault_set(fault, KQ_INVALID, "`%s` is no list of brokers; write HOST:PORT,HOST:PORT", text);
        if (parsed.count == BROKERS_MAX)
            return fault_set(fault, KQ_INVALID, "more than %d brokers; a few are enough to find the others",
                             BROKERS_MAX);
        memcpy(one, at, len);
        one[len] = 0;
        struct wire_address *address = &parsed.list[parsed.count++];
        *address = brokers->list[0];
        enum kq_err err = wire_address_parse(one, address, fault);
        if (err != KQ_OK)
            return err;
        at += len;
        if (*at == 0)
            break;
    }
    *brokers = parsed;
    return KQ_OK;
}

const struct wire_address *brokers_now(const struct brokers *brokers)
{
    return &brokers->list[brokers->at];
}

void brokers_move_on(struct brokers *brokers)
{
    brokers->at = (brokers->at + 1) % brokers->count;
}

int64_t brokers_patience(const struct brokers *brokers, int64_t now_us, int64_t deadline_us)
{
    int64_t patient_us = now_us + BROKERS_PATIENCE_US;
    return brokers->count > 1 && patient_us < deadline_us ? patient_us : deadline_us;
}

enum kq_err brokers_connect(struct brokers *brokers, struct wire **wire, int64_t deadline_us, struct fault *fault)
{
    enum kq_err err = KQ_EOF;
    for (size_t tried = 0; tried < brokers->count; tried++) {
        int64_t until_us = brokers_patience(brokers, clock_mono_us(), deadline_us);
        err = wire_connect(wire, brokers_now(brokers), until_us, fault);
        if (err != KQ_EOF)
            return err;
        brokers_move_on(brokers);
    }
    if (brokers->count == 1)
        return err;
    struct fault last = *fault;
    return fault_set(fault, KQ_EOF, "none of %zu brokers can be reached; the last: %s", brokers->count, last.text);
}
