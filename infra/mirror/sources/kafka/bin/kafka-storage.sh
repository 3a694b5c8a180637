#!/bin/sh
# Format a KRaft node's log folders, or make a cluster id (random-uuid).
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" kafka.tools.StorageTool "$@"
