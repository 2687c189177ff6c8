#include "api/topics.h"

#include "base/require.h"

#include <stddef.h>

static void cluster_done(struct cluster_request *cluster);

static void begin(struct broker *broker, struct topic_request *request)
{
    request->broker = broker;
    request->setting_next = 0;
    request->cluster = (struct cluster_request){.done = cluster_done, .topic = request->name};
    request->cluster.partitions = request->partitions;
    request->cluster.replicas = request->replicas;
}

/* After the creation, and after each setting. */
static void cluster_done(struct cluster_request *cluster)
{
    struct topic_request *request = CONTAINER_OF(cluster, struct topic_request, cluster);
    if (cluster->fault.err != KQ_OK || request->setting_next == request->setting_count) {
        request->fault = cluster->fault;
        request->done(request);
        return;
    }
    const struct topic_setting *setting = &request->settings[request->setting_next++];
    *cluster = (struct cluster_request){.done = cluster_done, .topic = request->name};
    cluster->key = setting->key;
    cluster->value = setting->value;
    cluster_topic_config(request->broker->cluster, cluster);
}

void topic_create(struct broker *broker, struct topic_request *request)
{
    REQUIRE(request->setting_count <= TOPIC_SETTINGS_MAX);
    begin(broker, request);
    request->fault.err = KQ_OK;
    for (uint32_t i = 0; i < request->setting_count && request->fault.err == KQ_OK; i++)
        (void)cluster_check_topic_config(request->settings[i].key, request->settings[i].value, &request->fault);
    if (request->fault.err != KQ_OK)
        request->done(request);
    else
        cluster_create_topic(broker->cluster, &request->cluster);
}

void topic_delete(struct broker *broker, struct topic_request *request)
{
    REQUIRE(request->setting_count == 0);
    begin(broker, request);
    cluster_delete_topic(broker->cluster, &request->cluster);
}
