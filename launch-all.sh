#!/usr/bin/env bash
# Starts drw, every actor as a process of its own; sets up first what is missing.
set -euo pipefail

usage() {
    cat <<'END'
usage: launch-all.sh [--tmux | --background] [--log-format text|json]
       launch-all.sh --status | --stop
       launch-all.sh --demo [--exit | --status | --stop]

Starts every actor and the dashboard, one terminal an actor: a window each of the tmux session "drw" where tmux is,
else in the background, with a log file each. Starts couchlet if no CouchDB answers at DRW_COUCHDB_URL. The first time,
it sets up .venv, the databases and the caches; what runs already is left alone. What dies is started again.

  --status      show what runs where, and change nothing; exit status 1 unless all of it runs
  --stop        end what was started here, gracefully, then hard
  --tmux        use tmux even if standard output is no terminal
  --background  do not use tmux
  --log-format  how the lines of the log files are written (text)
  --demo        take ten OUSs from ReadyForProcessing to Delivered, with data and caches of their own, and check them
  --exit        end the demo's actors when it is over (else: --demo --status shows them, --demo --stop ends them)
  -h, --help    show this

example: ./launch-all.sh --demo
END
}

demo="" look=""
for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit
        ;;
    --demo) demo=yes ;;
    --status | --stop) look=$argument ;;
    esac
done

# shellcheck source=scripts/bootstrap.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/bootstrap.sh"
if [[ -n $look && ! -e $DRW_VENV_PYTHON && ! -L $DRW_VENV_PYTHON ]]; then
    echo "nothing runs that was started here: $DRW_VENV is not set up; ./launch-all.sh sets it up"
    [[ $look == --stop ]]
    exit
fi
# To look and to end, what was set up before will do.
if [[ -z $look ]] || ! was_set_up; then
    bootstrap runtime
fi

if [[ -z $demo ]]; then
    exec "$DRW_VENV_PYTHON" -P -m drw.machine.launch "$@"
fi
options=()
for argument in "$@"; do
    [[ $argument == --demo ]] || options+=("$argument")
done
exec "$DRW_VENV_PYTHON" -P -m drw.demo ${options[@]+"${options[@]}"}
