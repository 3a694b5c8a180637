#!/usr/bin/env bash
# The Pulumi CLI of the artefact store, with this clone's state, plugins and passphrase. Linked as .venv/bin/pulumi.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# One Python for all that is asked of it: this runs before every `pulumi` command.
found=$(cd "$root" && .venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version
from infra.mirror.errors import MirrorError
from infra.mirror.store import path

try:
    print(*map(path, ("pulumi", "pulumi-language-python", "pulumi-resource-hcloud")), version("pulumi-hcloud"), sep="\n")
except MirrorError as error:
    sys.exit(f"error: {error}")
PYTHON
)
{ read -r cli; read -r language; read -r plugin; read -r version; } <<<"$found"

export PULUMI_HOME="${PULUMI_HOME:-$root/.baretick/pulumi-home}"
export PULUMI_SKIP_UPDATE_CHECK=1
if [ -z "${PULUMI_BACKEND_URL:-}" ]; then
    mkdir -p "$root/.baretick/pulumi"
    export PULUMI_BACKEND_URL="file://$root/.baretick/pulumi"
fi
if [ -z "${PULUMI_CONFIG_PASSPHRASE:-}" ] && [ -z "${PULUMI_CONFIG_PASSPHRASE_FILE:-}" ]; then
    passphrase="$root/.baretick/passphrase"
    if [ ! -s "$passphrase" ]; then
        (umask 077; head -c 24 /dev/urandom | base64 > "$passphrase")
        # A salt that Pulumi noted beside an earlier passphrase fits no other; a file with secrets keeps its own.
        for file in "$root"/Pulumi.*.yaml; do
            grep -q 'secure:' "$file" || sed -i '/^encryptionsalt:/d' "$file"
        done
    fi
    export PULUMI_CONFIG_PASSPHRASE_FILE="$passphrase"
fi
plugins="$PULUMI_HOME/plugins/resource-hcloud-v$version"
if [ ! -e "$plugins/pulumi-resource-hcloud" ]; then
    mkdir -p "$plugins"
    ln -sfn "$plugin/pulumi-resource-hcloud" "$plugins/pulumi-resource-hcloud"
fi
# Pulumi wants its language host beside itself, and resolves links: hard links, or copies across file systems.
bin="$PULUMI_HOME/bin"
mkdir -p "$bin"
for file in "$cli"/pulumi "$language"/pulumi-*; do
    [ "$bin/${file##*/}" -ef "$file" ] || ln -f "$file" "$bin/" 2>/dev/null || cp -pu "$file" "$bin/"
done
export PATH="$root/.venv/bin:$bin:$PATH"
# The dynamic providers are loaded by name, in a process of their own.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$bin/pulumi" "$@"
