#!/bin/sh
# Make the virtual environment, or bring it up to requirements.txt. Silent and instant when there is nothing to do.
#
#   scripts/setup.sh PYTHON VENV [FILE]    VENV empty: only see whether PYTHON will do as it is; FILE: requirements on top
#
# VENV/.requirements.txt, a copy of what was installed, is written last: it is the mark of completion, so a set-up that was
# interrupted is started over. VENV/.setup.lock says that the directory is ours, and keeps two set-ups apart.
set -eu
unset PYTHONDONTWRITEBYTECODE # a start without .pyc files costs 3 s more
python=$1 venv=$2 more=${3-}

die() {
	printf '%s\n' "$@" >&2
	exit 2
}
wanted() { cat requirements.txt ${more:+"$more"}; }
ready() { [ -x "$venv/bin/python" ] && wanted | cmp -s - "$venv/.requirements.txt"; }
remove_all_but_lock() { find "$venv" -mindepth 1 -maxdepth 1 ! -name .setup.lock -exec rm -rf {} +; }
lock() { "$python" -c 'import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | (fcntl.LOCK_NB if sys.argv[1:] else 0))' "$@" 2>/dev/null; }

if [ -n "$venv" ] && ready; then exit 0; fi
command -v "$python" >/dev/null || die "PYTHON=$python was not found; name a Python of 3.11 or newer: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	die "PYTHON=$python is $("$python" --version 2>&1); allowed: 3.11 or newer. Name one: make PYTHON=/path/to/python3"
if [ -z "$venv" ]; then
	"$python" -c 'import kconfiglib' 2>/dev/null ||
		die "PYTHON=$python VENV=: it has no kconfiglib; install it there ($python -m pip install kconfiglib), or leave VENV= out"
	exit 0
fi

if [ -e "$venv" ] && [ ! -e "$venv/.setup.lock" ] && [ -n "$(ls -A "$venv")" ]; then
	die "VENV=$venv was not made by this Makefile, so it is left alone. Use it as it is: make PYTHON=$venv/bin/python VENV=" \
		"or name another directory: make VENV=/path/to/new"
fi
mkdir -p "$venv"
exec 9>>"$venv/.setup.lock" # held as long as this script or a pip that it started lives
lock now || {
	echo "another set-up of $venv is running; waiting for it" >&2
	lock || die "$venv/.setup.lock cannot be locked; take a directory on a local disk: make VENV=/path/to/new"
}
if ready; then exit 0; fi

log=$venv/setup.log started=$(date +%s) step="preparing the directory"
trap '[ $? -eq 0 ] || { [ ! -e "$log" ] || tail -n 15 "$log" >&2
	die "set-up of $venv failed ($step); the whole log: $log. make again starts over"; }' EXIT
if [ -e "$venv/.requirements.txt" ] && [ -x "$venv/bin/python" ]; then
	echo "requirements.txt has changed: bringing $venv up to it (log: $log)" >&2
	rm -f "$venv/.requirements.txt" "$log"
else
	echo "setting up $venv: 1.5 GB of packages or more, 2 minutes or more (log: $log)" >&2
	remove_all_but_lock
	step="$python -m venv" && "$python" -m venv "$venv" >"$log" 2>&1
fi
step="pip install" && "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --compile \
	-r requirements.txt ${more:+-r "$more"} >>"$log" 2>&1
wanted >"$venv/.requirements.txt.new"
mv "$venv/.requirements.txt.new" "$venv/.requirements.txt"
echo "set-up done in $(($(date +%s) - started)) s" >&2
