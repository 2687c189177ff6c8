#include "api/topics.h"

#include "base/require.h"

#include <stddef.h>

static void cluster_done(struct cluster_request *cluster)
{
    struct topic_request *request = CONTAINER_OF(cluster, struct topic_request, cluster);
    request->fault = cluster->fault;
    request->done(request);
}

void topic_create(struct broker *broker, struct topic_request *request)
{
    REQUIRE(request->setting_count <= TOPIC_SETTINGS_MAX);
    request->cluster = (struct cluster_request){.done = cluster_done,
                                                .topic = request->name,
                                                .partitions = request->partitions,
                                                .replicas = request->replicas,
                                                .settings = request->settings,
                                                .setting_count = request->setting_count};
    cluster_create_topic(broker->cluster, &request->cluster);
}

void topic_delete(struct broker *broker, struct topic_request *request)
{
    REQUIRE(request->setting_count == 0);
    request->cluster = (struct cluster_request){.done = cluster_done, .topic = request->name};
    cluster_delete_topic(broker->cluster, &request->cluster);
}
