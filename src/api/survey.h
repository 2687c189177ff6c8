/* CLUS STATUS: one JSON object with what a survey of the cluster found. */
#ifndef KQ_API_SURVEY_H
#define KQ_API_SURVEY_H

#include "base/json.h"
#include "cluster/cluster.h"

/*
 * Any thread. Appends the object:
 *
 *   {"Brokers":[{"Broker":1,"Host":"..","Port":8081,"RaftPort":7071,"Alive":true,"Draining":false,
 *                "Controller":true,"Replicas":9,"Leaders":3},...],
 *    "Totals":{"Partitions":9,"Leaderless":0,"Lacking":0,"Moving":0,"Lost":0},
 *    "Partitions":[{"Topic":"t","Partition":0,"Leader":1,"Moving":false,"Lost":false,
 *                   "Replicas":[{"Broker":1,"Wanted":true,"Voter":true,"InSync":true,"Lag":0},...]},...]}
 *
 * Lost: a majority of the replicas is gone for good. Leader is null where none is known, Lag where nobody could say it.
 */
void survey_write(const struct cluster_survey *survey, struct json *json);

#endif
