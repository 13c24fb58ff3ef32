#!/usr/bin/env bash
# Makes drw's databases and caches anew, empty; sets up first what is missing.
set -euo pipefail

usage() {
    cat <<'END'
usage: clear-all.sh [--yes] [--force]

Drops drw's databases and empties the caches DRW_EU_CACHE and DRW_JAO_CACHE, then makes them anew; creates them the
first time. Shows what it will destroy, and asks. If no CouchDB answers at DRW_COUCHDB_URL, couchlet stands in for it
meanwhile. Refused while actors that were started by launch-all.sh run.

  --yes       do not ask
  --force     go on though actors that were started by hand run
  -h, --help  show this

example: DRW_EU_CACHE=/tmp/eu-cache DRW_JAO_CACHE=/tmp/jao-cache ./clear-all.sh
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
bootstrap runtime
exec "$DRW_VENV_PYTHON" -P -m drw.clear "$@"
