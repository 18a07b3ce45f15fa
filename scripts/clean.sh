#!/bin/sh
# Remove what the tree's commands have made; say what. Configurations, results and data go only when asked for by name.
#
#   scripts/clean.sh configs OUT                   generated config files
#   scripts/clean.sh clean OUT                     those and the caches
#   scripts/clean.sh mrproper OUT VENV [RESULTS]   .config and VENV too, and the sweeps in RESULTS where it is given
#
# OUT is a prefix: empty, or a directory with a slash at its end.
set -eu
what=$1 out=$2

remove() {
	for path; do
		if [ -e "$path" ] || [ -L "$path" ]; then
			rm -rf -- "$path"
			printf '  CLEAN   %s\n' "$path"
		fi
	done
}

remove "${out}sweep_configs"
if [ "$what" = configs ]; then exit 0; fi

find lib scripts models tests -type d -name __pycache__ -prune -exec rm -rf {} +
remove build .pytest_cache .ruff_cache .mypy_cache lib/*.egg-info
if [ "$what" = clean ]; then exit 0; fi

venv=$3 results=${4-}
remove "${out}.config" "${out}.config.old"
for made in "$venv" .venv-trackers; do
	if [ -e "$made/.setup.lock" ]; then remove "$made"; fi # the mark of scripts/setup.sh: never someone's own environment
done
if [ -n "$results" ]; then
	for kind in sweep train rerun final compare; do remove "$results/${kind}_"*; done
fi
