#!/usr/bin/env bash
# deps.sh [--possible] WHAT… installs what is missing for WHAT out of:
#
#   build  a Go toolchain, and certificates to fetch modules with
#   run    PostgreSQL with pglogical
#   test   run, and a C compiler for the race detector
#
# Debian packages are installed as root or through sudo without a password;
# where neither is possible the one command to run is printed, and the exit status is 2.
# With --possible it only says whether it could: nothing is installed.
# When nothing is missing it asks nobody and takes a few milliseconds.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# distribution_version: the PostgreSQL version that this Debian release carries.
distribution_version() {
	local id
	id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}-${VERSION_ID:-}") || true
	case $id in
	debian-11) echo 13 ;;
	debian-12) echo 15 ;;
	debian-13) echo 17 ;;
	*) apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1 ;;
	esac
}

missing=()
need_build() {
	command -v go >/dev/null ||
		die "no Go toolchain in PATH nor in /usr/local/go/bin: install Go $(sed -n 's/^go //p' "$repo/go.mod") or newer (https://go.dev/dl/)"
	[ -s /etc/ssl/certs/ca-certificates.crt ] || [ -n "${SSL_CERT_FILE:-}${SSL_CERT_DIR:-}" ] || missing+=(ca-certificates)
}
need_run() {
	installed_bin >/dev/null && return
	local v
	v=$(distribution_version)
	[ -n "$v" ] || die "no PostgreSQL with pglogical is installed, and this is no Debian that we know; install both, or build a private one: make pg PG=17"
	missing+=("postgresql-$v" "postgresql-$v-pglogical")
}
need_test() {
	need_run
	command -v "${CC:-gcc}" >/dev/null && [ -e /usr/include/stdlib.h ] || missing+=(gcc libc6-dev)
}

possible=
if [ "${1:-}" = --possible ]; then
	possible=1
	shift
fi
for what in "$@"; do
	case $what in
	build) need_build ;;
	run) need_run ;;
	test) need_test ;;
	*) die "deps.sh: unknown need $what (build, run, test)" ;;
	esac
done
[ ${#missing[@]} = 0 ] && exit 0

command -v apt-get >/dev/null || die "missing: ${missing[*]}; this machine has no apt-get, so install them by hand"
install=(apt-get install -y --no-install-recommends --no-upgrade "${missing[@]}")
root=()
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		root=(sudo -n)
	else
		say "missing packages: ${missing[*]}. Run this once, as root:"
		# create_main_cluster=false, as below: no server of the system's own is wanted.
		say "  mkdir -p /etc/postgresql-common/createcluster.d && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/spockchaos.conf && apt-get update && ${install[*]}"
		exit 2
	fi
fi

[ -z "$possible" ] || exit 0

# One installation at a time: make -j may call this script twice.
mkdir -p "$repo/.cache"
exec 9>"$repo/.cache/deps.lock"
flock -w 900 9 || die "another installation of packages has not ended within 15 minutes ($repo/.cache/deps.lock)"

# The server package would make a cluster and start it on port 5432, and start
# every other cluster of the machine that is down. Neither is wanted: the one is
# configured away and the other forbidden, for as long as the installation takes.
noservers=/etc/postgresql-common/createcluster.d/spockchaos.conf
policy=/usr/sbin/policy-rc.d
made=()
cleanup() { [ ${#made[@]} = 0 ] || "${root[@]}" rm -f -- "${made[@]}"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ! -e "$noservers" ]; then
	made+=("$noservers")
	"${root[@]}" mkdir -p "$(dirname "$noservers")"
	printf 'create_main_cluster = false\n' | "${root[@]}" tee "$noservers" >/dev/null
fi
if [ ! -e "$policy" ]; then
	made+=("$policy")
	printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
	"${root[@]}" chmod 755 "$policy"
fi

log=$repo/.cache/deps.log
say "installing ${missing[*]} (apt's own words: $log)"
: >"$log"
options=(-q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o APT::Color=0)
apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get "${options[@]}" "$@" </dev/null >>"$log" 2>&1; }

# Fresh images have no package lists, long-lived machines old ones: with none of
# our packages in the lists, or with a failed first attempt, fetch the lists and try (again).
known() { apt-cache show --no-all-versions "${missing[@]}" >/dev/null 2>&1; }
if ! known || ! apt "${install[@]:1}"; then
	apt update || say "apt-get update failed; trying with the lists that are there"
	if ! apt "${install[@]:1}"; then
		tail -n 20 "$log" >&2
		die "could not install ${missing[*]}; run by hand: apt-get update && ${install[*]}"
	fi
fi
