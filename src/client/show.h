/* JSON of the broker, for people: tables and lines. */
#ifndef KQ_CLIENT_SHOW_H
#define KQ_CLIENT_SHOW_H

#include "base/json.h"
#include "client/client.h"

#include <yajl/yajl_tree.h>

/* The tree of a reply line (yajl_tree_free it) and its Data (the tree itself if
 * there is none). NULL: no JSON, *fault says so. Ends line with a NUL. */
yajl_val show_parse(struct buf *line, yajl_val *data, struct fault *fault);

/* A list of objects as a table with a line of headings; an object as `Name: value`
 * lines, what is nested in it below; anything else as it is. Into out. */
void show_value(struct buf *out, yajl_val value);

/* The Data of client->line to stdout: as JSON if --json, else by show_value, or
 * `nothing` if it is an empty list. The exit code. */
int show_reply(struct client *client, const char *nothing);

#endif
