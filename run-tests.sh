#!/usr/bin/env bash
# Runs the tests; sets up first what they need.
set -euo pipefail

usage() {
    cat <<'END'
usage: run-tests.sh [PYTEST-ARGUMENT ...]

Sets up .venv and runs the tests, on all processors. What it is given goes to pytest: files, and any of its options.

  -h, --help  show this; pytest's own options: .venv/bin/pytest --help

example: ./run-tests.sh tests/unit -k names
END
}

for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit
        ;;
    esac
done

# shellcheck source=scripts/bootstrap.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/bootstrap.sh"
bootstrap dev

# The tests run at the checkout's root; files given as seen from here are found from there too.
arguments=()
for argument in "$@"; do
    if [[ $argument == [!/-]*[/.]* && -e ${argument%%::*} ]]; then
        argument=$PWD/$argument
    fi
    arguments+=("$argument")
done

cd "$DRW_ROOT"
# The tests start some 1,500 processes, each of which would compile everything anew.
unset PYTHONDONTWRITEBYTECODE
# Tests that share something expensive ask by xdist_group to run in the same worker.
# Four processes more than there are processors: most tests wait for something most of the time.
exec "$DRW_VENV_PYTHON" -m pytest --numprocesses "$(($(nproc) + 4))" --dist loadgroup ${arguments[@]+"${arguments[@]}"}
