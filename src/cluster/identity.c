/*
 * The file IDENTITY, text, four lines:
 *
 *    identity 1
 *    broker <id> <incarnation>
 *    metadata <topic id of __cluster_metadata>
 *    crc32c <of the three lines above, 8 hexadecimal digits>
 *
 * It is written once, before anything else of the cluster, under another name and
 * renamed when durable. If it is lost while replicas are there, the broker does
 * not start: with a new identity it would be another broker, and with new metadata
 * every folder here would seem to be nobody's.
 */
#include "cluster/home.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/logger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "IDENTITY"
#define NEW_NAME "IDENTITY.new"
enum { FILE_BYTES_MAX = 512 };

static void format(const struct identity *identity, char text[FILE_BYTES_MAX])
{
    char incarnation[UUID_TEXT_BYTES];
    char metadata_id[UUID_TEXT_BYTES];
    int n =
        snprintf(text, FILE_BYTES_MAX, "identity 1\nbroker %" PRIu32 " %s\nmetadata %s\n", identity->broker_id,
                 uuid_format(&identity->incarnation, incarnation), uuid_format(&identity->metadata_id, metadata_id));
    (void)snprintf(text + n, FILE_BYTES_MAX - (size_t)n, "crc32c %08" PRIx32 "\n", crc32c(0, text, (size_t)n));
}

/* What format() wrote, to the byte. */
static bool parse(const char *text, struct identity *identity)
{
    char incarnation[UUID_TEXT_BYTES];
    char metadata_id[UUID_TEXT_BYTES];
    char again[FILE_BYTES_MAX];
    if (sscanf(text, "identity 1\nbroker %" SCNu32 " %32s\nmetadata %32s\n", &identity->broker_id, incarnation,
               metadata_id) != 3 ||
        strlen(incarnation) != UUID_TEXT_BYTES - 1 || strlen(metadata_id) != UUID_TEXT_BYTES - 1 ||
        !uuid_parse(incarnation, &identity->incarnation) || !uuid_parse(metadata_id, &identity->metadata_id))
        return false;
    format(identity, again);
    return strcmp(again, text) == 0;
}

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

/* Its name becomes durable with the metadata's folder, which is made next:
 * log_open() syncs this folder before that one counts as made. */
static enum kq_err write_file(struct io *io, const char *data_dir, const char *text, struct fault *fault)
{
    char path[CLUSTER_PATH_BYTES];
    char new_path[CLUSTER_PATH_BYTES];
    if (!home_path(path, data_dir, NAME) || !home_path(new_path, data_dir, NEW_NAME))
        return fault_set(fault, KQ_INVALID, "%s: the path is too long", data_dir);
    struct io_file *file;
    enum kq_err err = io_open(io, new_path, IO_WRITE | IO_CREATE, &file);
    if (err == KQ_OK) {
        int result = io->ops->truncate(io, file, 0);
        err = result < 0 ? err_from_errno(-result) : io_write(io, file, text, strlen(text), 0);
        if (err == KQ_OK && (result = io->ops->datasync(io, file)) < 0)
            err = err_from_errno(-result);
        io_close(io, &file);
    }
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->rename(io, new_path, path));
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

enum kq_err identity_load(struct io *io, const char *data_dir, uint32_t broker_id, struct identity *identity,
                          struct fault *fault)
{
    char path[CLUSTER_PATH_BYTES];
    char text[FILE_BYTES_MAX];
    if (!home_path(path, data_dir, NAME))
        return fault_set(fault, KQ_INVALID, "%s: the path is too long", data_dir);
    enum kq_err err = read_file(io, path, text, fault);
    if (err == KQ_NOT_FOUND) {
        err = refuse_orphans(io, data_dir, fault);
        if (err != KQ_OK)
            return err;
        *identity =
            (struct identity){.broker_id = broker_id, .incarnation = uuid_random(), .metadata_id = uuid_random()};
        format(identity, text);
        return write_file(io, data_dir, text, fault);
    }
    if (err != KQ_OK)
        return err;
    if (strncmp(text, "identity ", 9) == 0 && strncmp(text, "identity 1\n", 11) != 0)
        return fault_set(fault, KQ_BAD_VERSION, "%s: written by a newer version of this program", path);
    if (!parse(text, identity))
        return fault_set(fault, KQ_CORRUPT, "%s: damaged; restore it from a backup. Nothing was changed", path);
    if (identity->broker_id != broker_id)
        return fault_set(fault, KQ_INVALID,
                         "%s: the folder belongs to broker %" PRIu32 ", not to broker %" PRIu32
                         "; start with that --broker-id or another --data-dir",
                         data_dir, identity->broker_id, broker_id);
    return KQ_OK;
}
