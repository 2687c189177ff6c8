#include "sim/judge.h"

#include "sim/machine.h"
#include "sim/trace.h"

#include <stdarg.h>
#include <stdio.h>

static char verdict[400];

void judge_fails(const char *format, ...)
{
    if (verdict[0] != '\0')
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(verdict, sizeof verdict, format, arguments);
    va_end(arguments);
    trace_say(TRACE_JUDGE, "%s", verdict);
    machine_stop();
}

const char *judge_verdict(void)
{
    return verdict[0] == '\0' ? NULL : verdict;
}
