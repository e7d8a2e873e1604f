#!/usr/bin/env bash
# pg.sh VERSION puts Debian's PostgreSQL VERSION (17 or 18) with pglogical into a
# private prefix, beside whatever the machine has, and prints its bin directory.
#
# No root is needed and nothing outside the prefix is touched: a private apt state
# with an empty package database fetches the packages with all they need, down to
# their own libc; they are unpacked, and each program is told (patchelf) to use the prefix's own
# loader and libraries. The loader's path is absolute, so after moving the
# prefix run this again: it patches anew without fetching.
#
# The mirror is the machine's own, read from its apt configuration, proxies and all.
# A prefix is used only if its stamp is there, which is written last, after a server
# out of it was started with the extension. Exit status 2: it could not be built.
set -Eeuo pipefail
trap 'say "error: pg.sh: line $LINENO failed: $BASH_COMMAND"' ERR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"
umask 022

version=${1:-}
case $version in
17) suite=trixie ;;
18) suite=sid ;;
*) die "usage: pg.sh 17|18 (make pg PG=17)" ;;
esac

cache=$(cache_dir)
prefix=$cache/pg/$version
bin=$prefix/usr/lib/postgresql/$version/bin
stamp=$prefix/.complete   # holds the path the programs are patched for
unpacked=$prefix/.unpacked

# linked: where the cache is not the repository's own, .cache/pg/VERSION points at it.
linked() {
	local here=$repo/.cache/pg/$version
	if [ "$prefix" != "$here" ] && [ -w "$repo" ]; then
		mkdir -p "$repo/.cache/pg"
		{ [ -e "$here" ] && [ ! -L "$here" ]; } || ln -sfn "$prefix" "$here"
	fi
}
ready() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$prefix" ] && [ -x "$bin/postgres" ]; }
finish() {
	linked
	printf '%s\n' "$bin"
	exit 0
}
ready && finish

mkdir -p "$cache/pg" || die "cannot create $cache/pg"
exec 9>"$cache/pg/$version.lock"
flock -w 900 9 || die "another build of PostgreSQL $version has not ended within 15 minutes ($cache/pg/$version.lock)"
ready && finish

work=$cache/pg/$version.build
check=
cleanup() {
	rm -rf -- "$work"
	[ -z "$check" ] || rm -rf -- "$check"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# download fetches the packages' closure into $work/archives.
download() {
	say "fetching PostgreSQL $version with pglogical ($suite)"
	rm -rf -- "$work"
	mkdir -p "$work/tree"
	private_apt "$work" "$suite"
	local packages=("postgresql-$version" "postgresql-$version-pglogical")
	command -v patchelf >/dev/null || packages+=(patchelf)
	local out=$work/apt.log
	APT_CONFIG=$work/apt.conf apt-get -q -y -d install "${packages[@]}" </dev/null >"$out" 2>&1 ||
		die "fetching ${packages[*]} of $suite failed: $(tail -n 3 "$out")"
}

# unpack puts the packages into the prefix, without what a server here never loads.
unpack() {
	local deb name
	rm -rf -- "$prefix"
	mkdir -p "$prefix"
	for deb in "$work"/cache/archives/*.deb; do
		name=${deb##*/}
		case ${name%%_*} in
		perl* | libperl* | locales* | libllvm* | libz3* | systemd* | libsystemd-shared* | libpam-systemd* | \
			debconf* | dpkg | tar | adduser | passwd | login* | init-system-helpers | sysvinit* | ucf | \
			ssl-cert | openssl | sensible-utils | tzdata* | netbase | postgresql-common* | postgresql-client-common | \
			coreutils | util-linux* | mount | bsdutils | gcc-*-base) continue ;;
		esac
		dpkg -x "$deb" "$prefix" || die "unpacking $name into $prefix failed"
	done
	rm -rf -- "$prefix"/usr/share/{doc,man,locale,lintian,bug,info} \
		"$prefix/usr/lib/postgresql/$version/lib/bitcode" \
		"$prefix/usr/lib/postgresql/$version/lib/"llvmjit*
	[ -x "$bin/postgres" ] || die "the packages of $suite hold no ${bin#"$prefix"/}/postgres"
	echo "$suite" >"$unpacked"
}

# patch makes each program use the prefix's own loader and libraries. An rpath (not
# a runpath) also serves what the programs load later, such as pglogical.so.
patch() {
	local loader libs tool program
	loader=$(find "$prefix" -name 'ld-linux*.so.*' \( -type f -o -type l \) -path '*/lib*/*' | sort | head -n 1)
	[ -n "$loader" ] || die "no dynamic loader among the packages of $suite"
	loader=$(readlink -f "$loader")
	libs=$(dirname "$(find "$prefix" -name 'libc.so.6' | head -n 1)")
	case $libs in *:*) die "$libs: the path must not contain a colon" ;; esac
	if command -v patchelf >/dev/null; then
		tool=(patchelf)
	else
		tool=("$loader" --library-path "$libs" "$prefix/usr/bin/patchelf")
	fi
	for program in "$bin"/*; do
		[ -f "$program" ] && [ ! -L "$program" ] || continue
		[ "$(head -c 4 "$program" | tr -d '\0')" = $'\x7fELF' ] || continue
		"${tool[@]}" --force-rpath --set-rpath "$libs" "$program" &&
			"${tool[@]}" --set-interpreter "$loader" "$program" ||
			die "patchelf failed on $program"
	done
}

# verify starts a server out of the prefix, as a user who is not root, with the extension.
verify() {
	local as=() owner
	owner=$(id -un)
	if [ "$(id -u)" = 0 ]; then
		owner=postgres
		id "$owner" >/dev/null 2>&1 || owner=nobody
		as=(runuser -u "$owner" --)
	fi
	check=$(mktemp -d /tmp/spockchaos-pg.XXXXXX)
	chown "$owner" "$check"
	cd "$check"
	local log=$check/log
	"${as[@]}" "$bin/initdb" -D "$check/data" -A trust -U postgres --no-sync >"$log" 2>&1 ||
		die "initdb of PostgreSQL $version failed: $(tail -n 3 "$log")"
	"${as[@]}" "$bin/pg_ctl" -D "$check/data" -l "$check/server.log" -w -t 60 start -o "-c listen_addresses='' -c unix_socket_directories='$check' \
		-c shared_preload_libraries=pglogical -c wal_level=logical -c track_commit_timestamp=on -c fsync=off" >"$log" 2>&1 9>&- ||
		die "PostgreSQL $version does not start: $(tail -n 3 "$check/server.log" "$log" 2>&1)"
	local answer=
	answer=$("${as[@]}" "$bin/psql" -X -A -t -q -v ON_ERROR_STOP=1 -h "$check" -U postgres -d postgres \
		-c 'CREATE EXTENSION pglogical' \
		-c "SELECT current_setting('server_version') || ', pglogical ' || extversion FROM pg_extension WHERE extname = 'pglogical'" 2>"$log") || true
	"${as[@]}" "$bin/pg_ctl" -D "$check/data" -m immediate -w stop >/dev/null 2>&1 || say "warning: the trial server in $check did not stop"
	[ -n "$answer" ] || die "pglogical does not work in PostgreSQL $version: $(tail -n 3 "$log")"
	say "PostgreSQL $answer in $prefix"
}

rm -f -- "$stamp"
if [ ! -f "$unpacked" ] || [ ! -x "$bin/postgres" ]; then
	download
	unpack
fi
patch
verify
printf '%s\n' "$prefix" >"$stamp"
finish
