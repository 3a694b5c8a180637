#!/bin/sh
# Stop the brokers of this distribution gracefully (under systemd, use systemctl stop instead).
set -eu
base=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
stopped=
for process in /proc/[0-9]*; do
    words=$(tr '\0' ' ' < "$process/cmdline" 2>/dev/null) || continue
    case $words in
        *"$base/libs/"*" kafka.Kafka "*) kill -TERM "${process#/proc/}" && stopped=1 ;;
    esac
done
[ -n "$stopped" ] || { echo "No kafka server to stop" >&2; exit 1; }
