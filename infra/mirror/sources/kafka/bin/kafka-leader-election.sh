#!/bin/sh
# Elect partition leaders anew.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.LeaderElectionCommand "$@"
