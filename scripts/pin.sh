#!/usr/bin/env bash
# Pins what pyproject.toml asks for: requirements.txt (to run) and requirements-dev.txt (to run, test and check).
# Run it after a change of the dependencies; --upgrade takes the newest versions that pyproject.toml allows.
# It needs pip-tools beside the Python that drw runs on: python3.11 -m pip install pip-tools
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

pin() { # pin FILE WHAT [OPTION ...]: writes FILE anew, with our head instead of pip-compile's
    local file=$1 what=$2
    shift 2
    pip-compile --quiet --generate-hashes --allow-unsafe --build-deps-for editable --strip-extras --no-annotate \
        --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
        --output-file "$file" "$@" pyproject.toml
    {
        echo "# The versions of $what, as tested, with the hashes of every file of each release."
        echo "# Made from pyproject.toml by scripts/pin.sh; read by pip install --require-hashes -r $file."
        grep -v -e '^#' -e '^$' "$file"
    } >"$file.new"
    mv "$file.new" "$file"
}

pin requirements.txt "what drw runs on" "$@"
pin requirements-dev.txt "what drw runs on and is checked with" --extra dev \
    --constraint requirements.txt "$@"
