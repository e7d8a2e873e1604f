#!/usr/bin/env bash
# staticcheck.sh MODULE@VERSION PACKAGES… runs that staticcheck, kept in the cache and
# built once per Go version. On a machine that cannot fetch it an installed one serves;
# with none at all the check is left out, and that is said.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
module=$1
shift
cd "$repo"
dir=$repo/.cache/tools/$(go env GOVERSION)-${module##*@}
if [ ! -x "$dir/staticcheck" ]; then
	mkdir -p "$dir"
	if ! out=$(GOBIN=$dir GOFLAGS='' go install "$module" 2>&1); then
		if ! command -v staticcheck >/dev/null; then
			say "staticcheck left out: it could not be fetched: $(tail -n 1 <<<"$out")"
			exit 0
		fi
		dir=$(dirname "$(command -v staticcheck)")
	fi
fi
echo "staticcheck $*"
exec "$dir/staticcheck" "$@"
