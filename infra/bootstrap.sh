#!/usr/bin/env bash
# From a bare Debian machine to a working toolchain: system packages (as root) and the locked virtual environment.
# Usage: infra/bootstrap.sh python | all. Run again at will: what is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
scope=${1:?python or all}
started=$SECONDS

say() { printf '  %s (%d s)\n' "$*" $((SECONDS - started)); }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# What the local site needs of the machine, and which program proves that it is there.
packages=(
    "mmdebstrap:mmdebstrap" "systemd-container:systemd-nspawn" "squid:squid" "iproute2:ip" "socat:socat"
    "util-linux:nsenter" "openssh-client:ssh" "git:git" "maven:mvn" "default-jdk-headless:javac"
    "ca-certificates:update-ca-certificates" "shellcheck:shellcheck" "procps:ps" "nftables:nft"
)

system_packages() {
    [ "$(id -u)" = 0 ] || die "the local site boots machines and needs root: run as root (make demo and make test-unit do not)"
    command -v apt-get >/dev/null || die "the local site is built for Debian 12 or 13: no apt-get here"
    export PATH="$PATH:/usr/sbin:/sbin"
    local missing=() entry
    for entry in "${packages[@]}"; do
        command -v "${entry#*:}" >/dev/null || missing+=("${entry%%:*}")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing system packages: ${missing[*]}"
    # A squid of our own runs beside the site; the packaged service must not start because we installed it.
    if [[ " ${missing[*]} " == *" squid "* ]] && [ -d /run/systemd/system ]; then systemctl mask -q squid.service; fi
    local log
    log=$(mktemp)
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } \
        >"$log" 2>&1 || { tail -20 "$log" >&2; die "apt-get could not install: ${missing[*]} (log above)"; }
    rm -f "$log"
}

find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    # Neither 3.13 nor 3.12: uv brings an interpreter of its own.
    local tools="${BARETICK_CACHE:-$HOME/.cache/baretick}/uv"
    command -v uv >/dev/null || [ -x "$tools/bin/uv" ] || {
        python3 -m venv "$tools" 2>/dev/null || die "no Python 3.12 or 3.13 and no way to get one: apt-get install python3-venv, then run again"
        "$tools/bin/pip" install -q uv >&2
    }
    PATH="$PATH:$tools/bin" uv python install -q 3.13 >&2 \
        || die "no Python 3.12 or 3.13 here, and uv could not fetch one: install python3.13 (or python3.12) with its venv module"
    PATH="$PATH:$tools/bin" uv python find 3.13
}

python_environment() {
    local want
    want=$(cat requirements.lock app/pyproject.toml infra/bootstrap.sh | sha256sum)
    [ -x .venv/bin/python ] && [ "$(cat .venv/.ready 2>/dev/null)" = "$want" ] && { touch .venv/.ready; return; }
    say "building the virtual environment from requirements.lock"
    [ -x .venv/bin/python ] || { local python; python=$(find_python); "$python" -m venv .venv; }
    [ -x .venv/bin/uv ] || .venv/bin/pip install -q --disable-pip-version-check uv
    .venv/bin/uv pip sync -q --require-hashes requirements.lock
    .venv/bin/uv pip install -q --no-deps --no-build-isolation -e app
    # `pulumi` by hand, at the root, with the venv active: same state, same plugins, same passphrase as make.
    ln -sf ../../infra/pulumi.sh .venv/bin/pulumi
    printf '%s\n' "$want" > .venv/.ready
}

case $scope in
    all) system_packages; python_environment ;;
    python) python_environment ;;
    *) die "unknown scope $scope: python or all" ;;
esac
