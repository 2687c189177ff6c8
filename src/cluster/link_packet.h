/*
 * Packets of actors as frames, and frames as parcels for actors. Bodies of fresh
 * entries go out from where they are shared, and those of the log from its mapping;
 * what comes in stays in the memory it was read into. Any thread.
 */
#ifndef KQ_CLUSTER_LINK_PACKET_H
#define KQ_CLUSTER_LINK_PACKET_H

#include "partition/packet.h"
#include "proto/peer/frame.h"
#include "proto/peer/raft_frame.h"

#include <sys/uio.h>

enum {
    LINK_HEADS_BYTES = 320 * 1024, /* of the heads in one write; the largest frame's fit */
    LINK_PARTS_MAX = 1024,         /* of one write */
};

/* What leaves in one writev. */
struct link_write {
    uint8_t *heads;
    size_t heads_bytes;
    struct iovec *parts;
    int part_count;
    size_t bytes;
};

bool link_write_init(struct link_write *write); /* false: out of memory */
void link_write_fini(struct link_write *write);
void link_write_reset(struct link_write *write);

/* Adds a frame of small parts, which are copied. False: no room. */
bool link_write_frame(struct link_write *write, uint32_t seed, enum peer_frame_type type, const struct slice *parts,
                      size_t part_count);
/* Adds a packet's frame; what it points to is borrowed until the write is done. False: no
 * room, write what there is first (an empty write has room for any packet). */
bool link_write_packet(struct link_write *write, uint32_t seed, const struct packet *packet);
/* The same of a packet with a view: entries are read and checked here; those that cannot
 * be read now are left out, with what follows. KQ_FULL: no room; else the reason why there
 * is none to send, with *fault. */
enum kq_err link_write_view(struct link_write *write, uint32_t seed, const struct packet *packet, struct fault *fault);

/* A PEER_RAFT frame as a parcel. Takes body, in all cases. KQ_GARBAGE: not one, or its
 * checksum does not match; KQ_NO_MEMORY. */
enum kq_err link_parcel_new(struct parcel **parcel, const struct peer_frame *frame, uint32_t seed, uint8_t *body);

#endif
