# shellcheck shell=bash
# What the scripts of this folder share. To be sourced, not run.

# The repository's root, whatever the caller's directory is.
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)

# A root shell of a minimal Debian may lack these; Go's own installer puts it in /usr/local/go.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin
export PATH

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }

# searchable DIR: whether everybody may search DIR and each of its parents. PostgreSQL
# refuses to run as root, so what root builds must be in reach of another user.
searchable() {
	local d mode
	d=$(readlink -m -- "$1")
	while :; do
		if [ -d "$d" ]; then
			mode=$(stat -c %a -- "$d") || return 1
			[ $((8#$mode & 1)) = 1 ] || return 1
		fi
		[ "$d" = / ] && return 0
		d=$(dirname -- "$d")
	done
}

# cache_dir prints where downloads and private prefixes live: $SPOCKCHAOS_CACHE, or
# .cache in the repository. For root, a place that other users cannot reach is
# replaced by a folder of ours in /var/tmp (local.FindPostgres knows both).
cache_dir() {
	local dir=${SPOCKCHAOS_CACHE:-$repo/.cache}
	dir=$(readlink -m -- "$dir")
	if [ "$(id -u)" = 0 ] && ! searchable "$dir"; then
		[ -z "${SPOCKCHAOS_CACHE:-}" ] ||
			die "SPOCKCHAOS_CACHE=$dir: user postgres cannot reach it; choose another place"
		dir=/var/tmp/spockchaos-cache-0
		mkdir -p -- "$dir"
		# /var/tmp belongs to everybody: what somebody else put there is not ours.
		{ [ ! -L "$dir" ] && [ "$(stat -c %u -- "$dir")" = 0 ]; } ||
			die "$dir belongs to another user; remove it or set SPOCKCHAOS_CACHE"
	fi
	printf '%s\n' "$dir"
}

# installed_bin prints the bin directory of the newest installed PostgreSQL that has
# pglogical, else of the newest private prefix; it fails if there is neither.
installed_bin() {
	local bin
	for bin in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
		[ -x "$bin/postgres" ] && [ -e "${bin%/bin}/lib/pglogical.so" ] && echo "$bin" && return
	done
	for bin in $(printf '%s\n' "$(cache_dir)"/pg/*/usr/lib/postgresql/*/bin | sort -rV); do
		[ -x "$bin/postgres" ] && [ -e "${bin%/usr/lib/postgresql/*}/.complete" ] && echo "$bin" && return
	done
	return 1
}
