#!/usr/bin/env bash
# Resolve both lock files anew: versions and hashes, no addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.12 --group dev --extra demo \
    pyproject.toml app/pyproject.toml -o requirements.lock "$@"
.venv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.12 --extra clickhouse \
    app/pyproject.toml -c requirements.lock -o app/requirements.lock "$@"
