#!/bin/sh
# Read and change the configuration of topics, brokers and clients.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" kafka.admin.ConfigCommand "$@"
