#!/usr/bin/env bash
# Every linter of the house, one line each; all of them run, the first failure decides the exit code.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export PATH="$PWD/.venv/bin:$PATH"
code=0
check() {
    local name=$1 started=$SECONDS output
    shift
    if output=$("$@" 2>&1); then
        printf '  %-28s ok    %3d s\n' "$name" $((SECONDS - started))
    else
        printf '  %-28s FAILED %2d s\n%s\n' "$name" $((SECONDS - started)) "$output"
        code=1
    fi
}
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "mypy --strict" mypy
check "yamllint" yamllint --strict .
check "ansible-lint (production)" ansible-lint --offline -q
check "shellcheck" shellcheck "${scripts[@]}"
exit $code
