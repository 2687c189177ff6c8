#!/bin/sh
# Apache Kafka as a peer of the benchmark.
#
#   kafka-peer.sh fetch     gets the newest Kafka 4.x from Maven Central (java 17 and mvn)
#                           into $KAFKA_PEER_CACHE, by default ~/.cache/kafkaesque-bench
#   kafka-peer.sh version   prints which one is there; fails if there is none
#   kafka-peer.sh run ID PORT CONTROLLER_PORT FOLDER VOTERS
#                           becomes a broker and controller on 127.0.0.1 with its data in
#                           FOLDER; VOTERS as in controller.quorum.voters
#   kafka-peer.sh tool CLASS ARGUMENT...
#                           one of Kafka's own tools, as org.apache.kafka.tools.ProducerPerformance
#
# The broker has Kafka's own defaults, those of its scripts for the JVM, and no flush.
set -eu

cache=${KAFKA_PEER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kafkaesque-bench}
jars=$cache/kafka

fetch() {
    mkdir -p "$jars"
    cat >"$cache/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>bench</groupId><artifactId>kafka-peer</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>[4.0,5.0)</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>[4.0,5.0)</version></dependency>
</dependencies>
</project>
POM
    mvn -q -B -f "$cache/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars"
    version
}

version() {
    for jar in "$jars"/kafka_2.13-*.jar; do
        [ -e "$jar" ] || return 1
        name=${jar##*/kafka_2.13-}
        echo "${name%.jar}"
    done
}

run() {
    id=$1 port=$2 controller_port=$3 folder=$4 voters=$5
    case $voters in
    *,*) replicas=3 in_sync=2 ;;
    *) replicas=1 in_sync=1 ;;
    esac
    cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$id
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$folder/data
offsets.topic.replication.factor=$replicas
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
PROPERTIES
    java -cp "$jars/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c "$folder/server.properties" \
        >"$folder/format.log" 2>&1
    exec java -Xmx1G -Xms1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 \
        -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true -cp "$jars/*" kafka.Kafka \
        "$folder/server.properties" >"$folder/server.log" 2>&1
}

case ${1:-} in
fetch) fetch ;;
version) version ;;
run)
    shift
    run "$@"
    ;;
tool)
    shift
    exec java -Xmx512M -cp "$jars/*" "$@"
    ;;
*)
    sed -n '2,16s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
