/* INFO: one JSON object with what this broker is and has done. */
#ifndef KQ_API_INFO_H
#define KQ_API_INFO_H

#include "api/broker.h"

/* Any thread. Appends the object. Counters only ever grow. */
void info_write(struct broker *broker, struct json *json);

#endif
