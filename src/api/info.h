/* INFO: one JSON object with what this broker is and has done. */
#ifndef KQ_API_INFO_H
#define KQ_API_INFO_H

#include "api/broker.h"

/* Any thread. Appends the object. Counters only ever grow. group_count
 * -1: not known now. */
void info_write(struct broker *broker, int64_t group_count, struct json *json);

#endif
