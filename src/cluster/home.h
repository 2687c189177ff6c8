/*
 * The broker's data folder: which names in it mean what, the broker's identity,
 * putting folders aside and removing them.
 *
 *    IDENTITY                      this broker's incarnation, what its cluster was founded with
 *    <topic>-<partition>           a replica
 *    <replica>.stray-<ms>          put aside: not what the metadata says (kept a while)
 *    <replica>.deleted-<ms>        of a deleted topic: removed as soon as possible
 *    REPLICAS                      which replicas were made here (notes.h)
 *    LOCK, FORMAT                  base/datadir.h
 *
 * Times have 13 digits or more and partitions 6 or less, so no name means two
 * things. Whatever else lies there is somebody else's and left alone.
 */
#ifndef KQ_CLUSTER_HOME_H
#define KQ_CLUSTER_HOME_H

#include "base/err.h"
#include "base/uuid.h"
#include "cluster/cluster.h"
#include "log/io.h"
#include "log/log.h"
#include "proto/peer/form.h"

enum {
    CLUSTER_PATH_BYTES = 4096,
    HOME_NAME_BYTES = TOPIC_NAME_MAX_BYTES + 64,
    HOME_STRAY_KEEP_MS = 24 * 3600 * 1000,
    HOME_REMOVE_PIECE = 32, /* files removed before the keeper looks at other work */
};

/* ---- the identity --------------------------------------------------------------------- */

struct identity {
    uint32_t broker_id;
    struct uuid incarnation;  /* of this broker; a new folder is a new one */
    uint64_t boot;            /* grows with each start */
    bool joined;              /* not one of the founders */
    struct founding founding; /* metadata_id zero: no cluster yet; cluster_id zero: in its metadata alone (version 1) */
};

/* Blocks. Reads the identity, or makes one without a cluster (durable when it returns) if
 * the folder has none and no replicas either; boot is this start's. KQ_CORRUPT,
 * KQ_BAD_VERSION, KQ_INVALID (another broker's), KQ_NO_SPACE, KQ_READ_ONLY, KQ_IO: *fault
 * says what to do. */
enum kq_err identity_load(struct io *io, const char *data_dir, uint32_t broker_id, struct identity *identity,
                          struct fault *fault);
/* Blocks. Durable on KQ_OK. */
enum kq_err identity_store(struct io *io, const char *data_dir, const struct identity *identity, struct fault *fault);

/* ---- names ------------------------------------------------------------------------------ */

enum home_kind { HOME_REPLICA, HOME_STRAY, HOME_DELETED, HOME_OWN, HOME_FOREIGN };

struct home_name {
    enum home_kind kind;
    char topic[TOPIC_NAME_MAX_BYTES + 1]; /* REPLICA */
    uint32_t partition;
    int64_t time_ms; /* STRAY, DELETED */
};

void home_parse(const char *name, struct home_name *parsed);
/* dir/name; false: it does not fit. */
bool home_path(char path[CLUSTER_PATH_BYTES], const char *data_dir, const char *name);
/* What lies in the data folder. The names end with a NULL; free with home_list_free. */
enum kq_err home_list(struct io *io, const char *data_dir, char ***names, size_t *count, struct fault *fault);
void home_list_free(char ***names);

/* ---- moving and removing (blocks) --------------------------------------------------------- */

/* Whose replica lies in this folder. KQ_NOT_FOUND: none; as hard_state_load(). */
enum kq_err home_hard_state(struct io *io, const char *path, struct log_hard_state *state);
bool home_exists(struct io *io, const char *path);
/* name becomes name.<suffix>-<now_ms>; aside (may be NULL) gets the new path. Says
 * it failed; the folder is then where it was. */
enum kq_err home_put_aside(struct io *io, const char *data_dir, const char *name, const char *suffix, int64_t now_ms,
                           char aside[CLUSTER_PATH_BYTES]);
/* Removes up to limit files of the folder, and the folder when it is empty.
 * KQ_OK: it is gone. KQ_AGAIN: there is more. KQ_IO: it cannot be removed (said). */
enum kq_err home_remove_some(struct io *io, const char *path, size_t limit);

#endif
