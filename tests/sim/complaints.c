/* See complaints.h. */
#include "sim/complaints.h"

#include "base/logger.h"
#include "sim/brokers.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/trace.h"
#include "sim/variant.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_BYTES = 600, NODES_MAX = 64 };

static const char is_lost_for_good[] = "a majority of its replicas is lost for good";
static const char *lost_topic;
static uint64_t losses_said;
static uint64_t failed_before[NODES_MAX]; /* calls of its disk before this process, by node */

void complaints_boot(const struct node *node)
{
    if (node->id < NODES_MAX)
        failed_before[node->id] = io_mem_failed(disk_mem(node->disk));
}

bool complaints_has_bad_disk(const struct node *node)
{
    struct io_mem *mem = disk_mem(node->disk);
    return io_mem_flipped(mem) > 0 || io_mem_failed(mem) > failed_before[node->id];
}

bool complaints_are_excused(void)
{
    for (unsigned i = 1; i <= brokers_count(); i++)
        if (complaints_has_bad_disk(broker_node(brokers_at(i))))
            return true;
    return false;
}

void complaints_expect_loss(const char *topic)
{
    lost_topic = topic;
}

uint64_t complaints_of_loss(void)
{
    return losses_said;
}

/* Errors that are no fault of the broker: of what a disk without room does not take, of a majority of disks that were
 * exchanged, and with flush = interval of a replica that has what the others lost with their power, where it fails for
 * many. */
static bool is_in_order(const struct node *node, const char *line)
{
    if (node->disk != NULL && io_mem_capacity(disk_mem(node->disk)) > 0 && strstr(line, "disk full") != NULL)
        return true;
    if (lost_topic != NULL && strncmp(line, lost_topic, strlen(lost_topic)) == 0 &&
        strstr(line, is_lost_for_good) != NULL)
        return true;
    return variant()->power_of_many && strstr(line, "they go on without messages that this replica still has") != NULL;
}

/* Warnings that say of what a disk has that it is not what was written there. */
static bool tells_of_damage(const char *line)
{
    static const char *const words[] = {"cannot be used", "exactly-once producers is lost", "footer does not check out",
                                        "the partition's folder is not there"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(line, words[i]) != NULL)
            return true;
    return false;
}

void __wrap_logger_say(struct logger_site *site, enum logger_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void __wrap_logger_say(struct logger_site *site, enum logger_level level, const char *format, ...)
{
    static const char *const names[] = {[LOGGER_ERROR] = "error",
                                        [LOGGER_WARNING] = "warning",
                                        [LOGGER_NOTICE] = "notice",
                                        [LOGGER_INFO] = "info",
                                        [LOGGER_DEBUG] = "debug"};
    char line[LINE_BYTES];
    const struct node *node = machine_node();
    va_list arguments;
    (void)site; /* one for all brokers: a line that one has left out says nothing of the others */
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    trace_say(TRACE_BROKER, "%s: %s: %s", node->name, names[level], line);
    losses_said += strstr(line, is_lost_for_good) != NULL;
    bool bad = level == LOGGER_ERROR ? !is_in_order(node, line) : level == LOGGER_WARNING && tells_of_damage(line);
    if (bad && node->disk != NULL && !complaints_has_bad_disk(node))
        judge_fails("%s has a disk that keeps what it promises, and says: %s", node->name, line);
}
