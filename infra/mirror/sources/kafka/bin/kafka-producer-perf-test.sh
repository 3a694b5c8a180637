#!/bin/sh
# Measure how fast a producer can send.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.ProducerPerformance "$@"
