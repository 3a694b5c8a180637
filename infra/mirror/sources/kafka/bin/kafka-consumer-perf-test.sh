#!/bin/sh
# Measure how fast a consumer can read.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.ConsumerPerformance "$@"
