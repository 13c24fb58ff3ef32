# shellcheck shell=bash
# Sourced by the scripts at the root: `bootstrap runtime` or `bootstrap dev` makes .venv what the requirement files
# say, with drw itself in it, editable. Done once, it does nothing, and needs no network, until one of those files
# changes. Sets DRW_ROOT (the checkout) and DRW_VENV_PYTHON (the Python to run drw with). DRW_PYTHON names the Python
# to make .venv with.

DRW_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
DRW_VENV=$DRW_ROOT/.venv
DRW_VENV_PYTHON=$DRW_VENV/bin/python
# There while packages are being installed: found at a start, it tells that the last set-up was cut short.
DRW_VENV_UNFINISHED=$DRW_VENV/drw-unfinished

# Settings of the user's that would send packages elsewhere than into .venv, or Python to another library.
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PYTHONHOME

say() { printf '%s\n' "$*" >&2; }

fail() { # fail STATUS SENTENCE...
    local status=$1
    shift
    say "$(basename "$0"): $*"
    exit "$status"
}

# What a Python says of itself, in two lines: the interpreter, rather than a shim or the link to it in a .venv; then
# its version, whether that is new enough, and whether it can make virtual environments.
python_facts() { # python_facts COMMAND
    "$1" -I -c '
import os, sys
try:
    import ensurepip, venv
    makes = "makes"
except ImportError:
    makes = "lacks"
print(os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable))
print("%d.%d" % sys.version_info[:2], "new" if sys.version_info >= (3, 11) else "old", makes)
' 2>/dev/null
}

# Sets PYTHON to the first Python that will do; ends with one line on what to install when there is none.
find_python() {
    local command facts version age venv lacking="" old="" commands=(python3 python3.14 python3.13 python3.12 python3.11)
    [[ -z ${DRW_PYTHON:-} ]] || commands=("$DRW_PYTHON")
    for command in "${commands[@]}"; do
        facts=$(python_facts "$command") || continue
        read -r version age venv <<<"${facts##*$'\n'}"
        if [[ $age == old ]]; then
            old=${old:-" ($command is $version)"}
        elif [[ $venv == lacks ]]; then
            lacking=${lacking:-$version}
        else
            PYTHON=${facts%$'\n'*}
            return
        fi
    done
    if [[ -n $lacking ]]; then
        fail 2 "Python $lacking lacks its venv module: install it, for instance with: apt install python$lacking-venv"
    fi
    if [[ -n ${DRW_PYTHON:-} ]]; then
        fail 2 "DRW_PYTHON is $DRW_PYTHON, which is no Python 3.11 or newer$old: name another one, or unset it"
    fi
    fail 2 "Python 3.11 or newer is needed$old: install it, for instance with: apt install python3 python3-venv;" \
        "or name it in DRW_PYTHON"
}

# What a .venv that is as it should be was made from. Its place counts, because a .venv cannot be moved.
recipe() { # recipe runtime|dev
    local files=("$DRW_ROOT/pyproject.toml" "$DRW_ROOT/requirements.txt")
    [[ $1 == runtime ]] || files+=("$DRW_ROOT/requirements-dev.txt")
    "$DRW_VENV_PYTHON" -I -c '
import hashlib, os, sys
made = hashlib.sha256(os.fsencode(sys.version + "\0" + sys.prefix))
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        made.update(hashlib.sha256(file.read()).digest())
print(made.hexdigest())
' "${files[@]}" 2>/dev/null
}

is_of_asked_python() {
    local asked ours
    [[ -n ${DRW_PYTHON:-} ]] || return 0
    asked=$(python_facts "$DRW_PYTHON") && ours=$(python_facts "$DRW_VENV_PYTHON") && [[ $asked == "$ours" ]]
}

is_up_to_date() { # is_up_to_date runtime|dev
    local wanted
    [[ -x $DRW_VENV_PYTHON && -f $DRW_VENV/drw-made-$1 && ! -e $DRW_VENV_UNFINISHED ]] || return 1
    wanted=$(recipe "$1") && [[ $wanted == "$(<"$DRW_VENV/drw-made-$1")" ]] && is_of_asked_python
}

# Whether .venv was made whole, if not for the requirement files as they are now.
was_set_up() {
    local marks=("$DRW_VENV"/drw-made-*)
    [[ -x $DRW_VENV_PYTHON && -e ${marks[0]} && ! -e $DRW_VENV_UNFINISHED ]]
}

# Whether .venv, though not up to date, can be installed into: complete, made here, and of a Python that will do.
is_usable() {
    [[ -x $DRW_VENV_PYTHON && ! -e $DRW_VENV_UNFINISHED ]] || return 1
    "$DRW_VENV_PYTHON" -I -c '
import os, sys
import pip
with open(os.path.join(sys.prefix, "bin", "pip"), "rb") as script:
    made_here = os.fsencode(sys.argv[1]) in script.read(4096)
sys.exit(not (made_here and sys.prefix != sys.base_prefix and sys.version_info >= (3, 11)))
' "$DRW_VENV" 2>/dev/null && is_of_asked_python
}

quietly() { # quietly SENTENCE COMMAND...: runs a command; if it fails, says SENTENCE and the command's last lines
    local sentence=$1 output
    shift
    if ! output=$("$@" 2>&1 </dev/null); then
        # Until pip begins to install, nothing has changed, and what .venv holds stays good.
        [[ $output == *"Installing collected packages"* ]] || rm -f "$DRW_VENV_UNFINISHED"
        fail 1 "$sentence. The last lines of the output:"$'\n'"$(tail -n 8 <<<"$output")"
    fi
}

make_venv() {
    is_usable && return
    quietly "$PYTHON cannot make a virtual environment in $DRW_VENV" "$PYTHON" -I -m venv --clear "$DRW_VENV"
}

install_packages() { # install_packages runtime|dev
    local file=requirements.txt pip=("$DRW_VENV_PYTHON" -I -m pip --disable-pip-version-check --no-input install)
    [[ $1 == runtime ]] || file=requirements-dev.txt
    : >"$DRW_VENV_UNFINISHED"
    quietly "the packages of $file cannot be installed (the first set-up needs the network, or a package index)" \
        "${pip[@]}" --require-hashes --requirement "$DRW_ROOT/$file"
    quietly "drw itself cannot be installed into $DRW_VENV" \
        "${pip[@]}" --no-index --no-build-isolation --no-deps --editable "$DRW_ROOT"
    # Only now: while the old marks stand, an update that fails before it changes anything leaves what serves.
    rm -f "$DRW_VENV"/drw-made-* "$DRW_VENV_UNFINISHED"
    recipe runtime >"$DRW_VENV/drw-made-runtime"
    [[ $1 == runtime ]] || recipe dev >"$DRW_VENV/drw-made-dev"
}

# One set-up at a time: the lock is on the checkout's own folder, leaves no file behind, and ends with this process.
# Python takes it, because flock(1) is not everywhere; it stays ours, because descriptor 9 does.
lock_checkout() {
    exec 9<"$DRW_ROOT"
    "$PYTHON" -I -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("waiting for another script that sets up .venv", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
'
}

# Ends with the real cause when whoever runs this can neither use .venv nor make it.
refuse_unwritable() {
    local me cause target
    [[ ! -w $DRW_ROOT || (-e $DRW_VENV && ! -w $DRW_VENV) ]] || return 0
    me=$(id -un)
    if [[ -e $DRW_VENV && ! -x $DRW_VENV/bin ]]; then
        cause="$me may not look into $DRW_VENV/bin"
    elif [[ -L $DRW_VENV_PYTHON && ! -x $DRW_VENV_PYTHON ]]; then
        target=$(readlink "$DRW_VENV_PYTHON")
        cause="$DRW_VENV_PYTHON leads to $target, which is gone or which $me may not run"
        cause+=" (removed, .venv is made anew, with a Python that all may run if one is named in DRW_PYTHON)"
    elif [[ -x $DRW_VENV_PYTHON ]]; then
        cause="it is not what the requirement files say now, and $me may not write there"
    else
        cause="$me may not write there"
    fi
    fail 1 "$DRW_VENV cannot be set up: $cause; run this as the owner of the checkout"
}

bootstrap() { # bootstrap runtime|dev
    is_up_to_date "$1" && return
    find_python
    lock_checkout
    if ! is_up_to_date "$1"; then
        refuse_unwritable
        say "setting up $DRW_VENV, once (Python packages, half a minute or so)"
        make_venv
        install_packages "$1"
    fi
    exec 9<&-
}
