/* The client's commands; their rows are in kafkaesque.c. Each returns an exit code
 * (enum client_exit) and has said on stderr what went wrong. */
#ifndef KQ_CLIENT_COMMANDS_H
#define KQ_CLIENT_COMMANDS_H

#include "client/client.h"

int command_topic_create(struct client *client, const struct arguments *arguments);
int command_topic_list(struct client *client, const struct arguments *arguments);
int command_topic_describe(struct client *client, const struct arguments *arguments);
int command_topic_delete(struct client *client, const struct arguments *arguments);
int command_groups(struct client *client, const struct arguments *arguments);
int command_info(struct client *client, const struct arguments *arguments);
int command_protocol(struct client *client, const struct arguments *arguments);

extern const struct option_row topic_create_options[];
extern const struct option_row protocol_options[];

int command_publish(struct client *client, const struct arguments *arguments);
extern const struct option_row publish_options[];

int command_consume(struct client *client, const struct arguments *arguments);
extern const struct option_row consume_options[];

int command_cluster_status(struct client *client, const struct arguments *arguments);
int command_cluster_add(struct client *client, const struct arguments *arguments);
int command_cluster_drain(struct client *client, const struct arguments *arguments);
int command_cluster_remove(struct client *client, const struct arguments *arguments);
int command_cluster_move(struct client *client, const struct arguments *arguments);
int command_cluster_rebalance(struct client *client, const struct arguments *arguments);
int command_cluster_transfer(struct client *client, const struct arguments *arguments);
extern const struct option_row cluster_status_options[];
extern const struct option_row cluster_order_options[];
extern const struct option_row cluster_move_options[];
extern const struct option_row cluster_transfer_options[];

int command_log_check(struct client *client, const struct arguments *arguments);
int command_log_dump(struct client *client, const struct arguments *arguments);
int command_log_repair(struct client *client, const struct arguments *arguments);
extern const struct option_row log_dump_options[];

int command_bench(struct client *client, const struct arguments *arguments);
extern const struct option_row bench_options[];

#endif
