#!/bin/sh
# Start a broker, a controller or both: kafka-server-start.sh [-daemon] server.properties [--override name=value ...]
set -eu
[ $# -gt 0 ] || { echo "usage: $0 [-daemon] server.properties [--override name=value ...]" >&2; exit 1; }
base=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
export KAFKA_LOG4J_OPTS="${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=$base/config/log4j2.xml}"
export KAFKA_HEAP_OPTS="${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G}"
daemon=
if [ "$1" = -daemon ]; then daemon=-daemon; shift; fi
exec "$base/bin/kafka-run-class.sh" $daemon kafka.Kafka "$@"
