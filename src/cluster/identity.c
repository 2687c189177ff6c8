/*
 * The file IDENTITY, text:
 *
 *    identity 2
 *    broker <id> <incarnation>
 *    boot <number>
 *    metadata <topic id of __cluster_metadata>     zeros: no cluster yet
 *    cluster <cluster id>                          zeros: no cluster yet, or not known yet
 *    founders <count> <founders|joined>            what this broker is to the group's founding
 *    founder <id> <incarnation> <host> <port> <raft port>    so many lines; host "-": not known
 *    crc32c <of the lines above, 8 hexadecimal digits>
 *
 * Version 1, of a cluster of one, had the lines `identity 1`, `broker`, `metadata` and
 * `crc32c` alone; it is read as a founding by this broker.
 *
 * It is written before anything else of the cluster, when the cluster is formed or
 * joined, and at each start (the boot number), under another name and renamed when
 * durable. If it is lost while replicas are there, the broker does not start: with
 * a new identity it would be another broker, and with new metadata every folder here
 * would seem to be nobody's.
 */
#include "cluster/home.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/logger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "IDENTITY"
#define NEW_NAME "IDENTITY.new"
enum { FILE_BYTES_MAX = 512 + FORM_MEMBERS_MAX * 384 };

/* ---- the text ---------------------------------------------------------------------- */

static void add_crc(struct buf *out)
{
    buf_printf(out, "crc32c %08" PRIx32 "\n", crc32c(0, out->data, out->len));
}

static void format_1(const struct identity *identity, struct buf *out)
{
    char incarnation[UUID_TEXT_BYTES];
    char metadata_id[UUID_TEXT_BYTES];
    buf_printf(out, "identity 1\nbroker %" PRIu32 " %s\nmetadata %s\n", identity->broker_id,
               uuid_format(&identity->incarnation, incarnation),
               uuid_format(&identity->founding.metadata_id, metadata_id));
    add_crc(out);
}

static void format(const struct identity *identity, struct buf *out)
{
    const struct founding *f = &identity->founding;
    char id[UUID_TEXT_BYTES];
    buf_printf(out, "identity 2\nbroker %" PRIu32 " %s\n", identity->broker_id,
               uuid_format(&identity->incarnation, id));
    buf_printf(out, "boot %" PRIu64 "\nmetadata %s\n", identity->boot, uuid_format(&f->metadata_id, id));
    buf_printf(out, "cluster %s\nfounders %" PRIu32 " %s\n", uuid_format(&f->cluster_id, id), f->count,
               identity->joined ? "joined" : "founders");
    for (uint32_t i = 0; i < f->count; i++) {
        const struct form_member *m = &f->members[i];
        buf_printf(out, "founder %" PRIu32 " %s %s %u %u\n", m->broker_id, uuid_format(&m->incarnation, id),
                   m->host[0] == '\0' ? "-" : m->host, m->port, m->raft_port);
    }
    add_crc(out);
}

static bool parse_uuid(const char *text, struct uuid *id)
{
    return strlen(text) == UUID_TEXT_BYTES - 1 && uuid_parse(text, id);
}

static bool parse_1(const char *text, struct identity *identity)
{
    char incarnation[UUID_TEXT_BYTES];
    char metadata_id[UUID_TEXT_BYTES];
    if (sscanf(text, "identity 1\nbroker %" SCNu32 " %32s\nmetadata %32s\n", &identity->broker_id, incarnation,
               metadata_id) != 3 ||
        !parse_uuid(incarnation, &identity->incarnation) || !parse_uuid(metadata_id, &identity->founding.metadata_id))
        return false;
    identity->founding.count = 1;
    identity->founding.members[0].broker_id = identity->broker_id;
    identity->founding.members[0].incarnation = identity->incarnation;
    return true;
}

static bool parse_founder(const char **text, struct form_member *m)
{
    char incarnation[UUID_TEXT_BYTES];
    int used = 0;
    if (sscanf(*text, "founder %" SCNu32 " %32s %255s %" SCNu16 " %" SCNu16 "\n%n", &m->broker_id, incarnation, m->host,
               &m->port, &m->raft_port, &used) != 5 ||
        used == 0 || !parse_uuid(incarnation, &m->incarnation))
        return false;
    if (strcmp(m->host, "-") == 0)
        m->host[0] = '\0';
    *text += used;
    return true;
}

static bool parse_2(const char *text, struct identity *identity)
{
    struct founding *f = &identity->founding;
    char incarnation[UUID_TEXT_BYTES];
    char metadata_id[UUID_TEXT_BYTES];
    char cluster_id[UUID_TEXT_BYTES];
    char what[16];
    int used = 0;
    if (sscanf(text,
               "identity 2\nbroker %" SCNu32 " %32s\nboot %" SCNu64 "\nmetadata %32s\ncluster %32s\nfounders %" SCNu32
               " %15s\n%n",
               &identity->broker_id, incarnation, &identity->boot, metadata_id, cluster_id, &f->count, what,
               &used) != 7 ||
        used == 0 || f->count > FORM_MEMBERS_MAX || !parse_uuid(incarnation, &identity->incarnation) ||
        !parse_uuid(metadata_id, &f->metadata_id) || !parse_uuid(cluster_id, &f->cluster_id))
        return false;
    identity->joined = strcmp(what, "joined") == 0;
    text += used;
    for (uint32_t i = 0; i < f->count; i++)
        if (!parse_founder(&text, &f->members[i]))
            return false;
    return true;
}

/* What the version's format wrote, to the byte. */
static bool parse(const char *text, struct identity *identity)
{
    bool first = strncmp(text, "identity 1\n", 11) == 0;
    *identity = (struct identity){.broker_id = 0};
    if (first ? !parse_1(text, identity) : !parse_2(text, identity))
        return false;
    struct buf again;
    buf_init(&again, FILE_BYTES_MAX);
    (first ? format_1 : format)(identity, &again);
    bool same = !again.bad && again.len == strlen(text) && memcmp(again.data, text, again.len) == 0;
    buf_fini(&again);
    return same;
}

/* ---- the file ------------------------------------------------------------------------ */

static enum kq_err read_file(struct io *io, const char *path, char text[FILE_BYTES_MAX], struct fault *fault)
{
    struct io_file *file;
    enum kq_err err = io_open(io, path, 0, &file);
    if (err == KQ_NOT_FOUND)
        return err;
    size_t got = 0;
    if (err == KQ_OK) {
        err = io_read(io, file, text, FILE_BYTES_MAX - 1, 0, &got);
        io_close(io, &file);
    }
    if (err != KQ_OK && err != KQ_EOF)
        return fault_set(fault, err, "%s: cannot be read: %s", path, err_text(err));
    text[got] = '\0';
    return KQ_OK;
}

enum kq_err identity_store(struct io *io, const char *data_dir, const struct identity *identity, struct fault *fault)
{
    char path[CLUSTER_PATH_BYTES];
    char new_path[CLUSTER_PATH_BYTES];
    if (!home_path(path, data_dir, NAME) || !home_path(new_path, data_dir, NEW_NAME))
        return fault_set(fault, KQ_INVALID, "%s: the path is too long", data_dir);
    struct buf text;
    buf_init(&text, FILE_BYTES_MAX);
    format(identity, &text);
    struct io_file *file;
    enum kq_err err = text.bad ? KQ_NO_MEMORY : io_open(io, new_path, IO_WRITE | IO_CREATE, &file);
    if (err == KQ_OK) {
        int result = io->ops->truncate(io, file, 0);
        err = result < 0 ? err_from_errno(-result) : io_write(io, file, text.data, text.len, 0);
        if (err == KQ_OK && (result = io->ops->datasync(io, file)) < 0)
            err = err_from_errno(-result);
        io_close(io, &file);
    }
    buf_fini(&text);
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->rename(io, new_path, path));
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->sync_dir(io, data_dir));
    if (err != KQ_OK)
        return fault_set(fault, err, "%s: cannot be written: %s", path, err_text(err));
    return KQ_OK;
}

/* A replica in a folder without identity: not a new broker. */
static enum kq_err refuse_orphans(struct io *io, const char *data_dir, struct fault *fault)
{
    char **names;
    size_t count;
    if (home_list(io, data_dir, &names, &count, fault) != KQ_OK)
        return fault->err;
    enum kq_err err = KQ_OK;
    for (size_t i = 0; i < count && err == KQ_OK; i++) {
        struct home_name parsed;
        home_parse(names[i], &parsed);
        if (parsed.kind == HOME_REPLICA)
            err = fault_set(fault, KQ_CORRUPT,
                            "%s: there are partitions (%.60s) but no file IDENTITY, which says whose they are; restore "
                            "it, or start in an empty folder. Nothing was changed",
                            data_dir, names[i]);
    }
    home_list_free(&names);
    return err;
}

/* Grows from start to start, also when the disk is full now or a clock went back before. */
static uint64_t next_boot(uint64_t boot)
{
    uint64_t now_ms = (uint64_t)clock_wall_ms();
    return boot + 1 > now_ms ? boot + 1 : now_ms;
}

static enum kq_err make_new(struct io *io, const char *data_dir, uint32_t broker_id, struct identity *identity,
                            struct fault *fault)
{
    if (refuse_orphans(io, data_dir, fault) != KQ_OK)
        return fault->err;
    *identity = (struct identity){.broker_id = broker_id, .incarnation = uuid_random(), .boot = next_boot(0)};
    return identity_store(io, data_dir, identity, fault);
}

enum kq_err identity_load(struct io *io, const char *data_dir, uint32_t broker_id, struct identity *identity,
                          struct fault *fault)
{
    char path[CLUSTER_PATH_BYTES];
    char text[FILE_BYTES_MAX];
    if (!home_path(path, data_dir, NAME))
        return fault_set(fault, KQ_INVALID, "%s: the path is too long", data_dir);
    enum kq_err err = read_file(io, path, text, fault);
    if (err == KQ_NOT_FOUND)
        return make_new(io, data_dir, broker_id, identity, fault);
    if (err != KQ_OK)
        return err;
    if (strncmp(text, "identity ", 9) == 0 && strncmp(text, "identity 1\n", 11) != 0 &&
        strncmp(text, "identity 2\n", 11) != 0)
        return fault_set(fault, KQ_BAD_VERSION, "%s: written by a newer version of this program", path);
    if (!parse(text, identity))
        return fault_set(fault, KQ_CORRUPT, "%s: damaged; restore it from a backup. Nothing was changed", path);
    if (identity->broker_id != broker_id)
        return fault_set(fault, KQ_INVALID,
                         "%s: the folder belongs to broker %" PRIu32 ", not to broker %" PRIu32
                         "; start with that --broker-id or another --data-dir",
                         data_dir, identity->broker_id, broker_id);
    identity->boot = next_boot(identity->boot);
    struct fault unwritten;
    if (identity_store(io, data_dir, identity, &unwritten) != KQ_OK) /* a broker starts on a full disk, too */
        SAY_WARNING("%s", fault_text(&unwritten));
    return KQ_OK;
}
