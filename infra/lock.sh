#!/usr/bin/env bash
# Resolve the lock files anew: versions and hashes, no addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.12 --group dev --extra demo \
    pyproject.toml app/pyproject.toml -o requirements.lock "$@"
.venv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.12 --extra clickhouse \
    app/pyproject.toml -c requirements.lock -o app/requirements.lock "$@"
# Clients of others, for the conformance tests: an environment of their own, as `ansible` alone is 200 MB.
.venv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.12 \
    tests/conformance/requirements.in -c requirements.lock -o tests/conformance/requirements.lock "$@"
