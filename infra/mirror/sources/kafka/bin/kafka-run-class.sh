#!/bin/sh
# Run a class of this distribution. Environment, as upstream's script has it: JAVA_HOME, KAFKA_HEAP_OPTS,
# KAFKA_JVM_PERFORMANCE_OPTS, KAFKA_LOG4J_OPTS, KAFKA_OPTS, CLASSPATH.
set -eu
[ $# -gt 0 ] || { echo "usage: $0 [-daemon] class [arguments]" >&2; exit 1; }
base=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
daemon=
if [ "$1" = -daemon ]; then daemon=1; shift; fi
java=java
[ -z "${JAVA_HOME:-}" ] || java=$JAVA_HOME/bin/java
heap=${KAFKA_HEAP_OPTS:--Xmx256M}
performance=${KAFKA_JVM_PERFORMANCE_OPTS:--server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true}
logging=${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=$base/config/tools-log4j2.xml}
# The star is for java, which lists the folder itself.
classpath="$base/libs/*${CLASSPATH:+:$CLASSPATH}"
# The options are words on purpose; none of ours has blanks within.
# shellcheck disable=SC2086
set -- $heap $performance $logging ${KAFKA_OPTS:-} -cp "$classpath" "$@"
if [ -n "$daemon" ]; then
    mkdir -p "${LOG_DIR:-$base/logs}"
    nohup "$java" "$@" > "${LOG_DIR:-$base/logs}/kafka.out" 2>&1 < /dev/null &
else
    exec "$java" "$@"
fi
