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

# mirror prints the address from which this machine gets its own Debian release:
# first entry of type deb for the release's code name, in either format of apt's sources.
mirror() {
	local name
	name=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	local found=()
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -e "$f" ] && found+=("$f")
	done
	[ ${#found[@]} = 0 ] || awk -v name="$name" '
		function done_with() {
			if (types ~ /(^| )deb( |$)/ && enabled !~ /^(no|false)$/ && components ~ /(^| )main( |$)/) {
				n = split(suites, s, " ")
				for (i = 1; i <= n; i++) if (s[i] == name || s[i] == "stable") {
					split(uris, u, " "); print u[1]; found = 1; exit
				}
			}
			types = uris = suites = components = enabled = field = ""
		}
		FNR == 1 { done_with() }
		/^[ \t]*$/ { done_with(); next }
		/^#/ { next }
		/^[ \t]/ { value = $0 }
		/^[A-Za-z-]+:/ { field = tolower($0); sub(/:.*/, "", field); value = $0; sub(/^[^:]*:/, "", value) }
		{
			gsub(/[ \t]+/, " ", value); sub(/^ /, "", value); sub(/ $/, "", value)
			if (field == "types") types = types " " value
			if (field == "uris") uris = uris " " value
			if (field == "suites") suites = suites " " value
			if (field == "components") components = components " " value
			if (field == "enabled") enabled = value
		}
		END { if (!found) done_with() }' "${found[@]}"
	{ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } | awk -v name="$name" '
		$1 == "deb" {
			line = $0; sub(/^deb[ \t]+/, "", line); sub(/^\[[^]]*\][ \t]*/, "", line)
			split(line, p, /[ \t]+/)
			if (p[2] == name || p[2] == "stable") { print p[1]; exit }
		}'
}

keyring() {
	local k
	for k in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
		[ -e "$k" ] && echo "$k" && return
	done
	die "no keyring of the Debian archive below /usr/share/keyrings (package debian-archive-keyring)"
}

# download fetches the packages' closure into $work/archives.
download() {
	local uri
	uri=$(mirror | head -n 1)
	[ -n "$uri" ] || die "no Debian mirror in this machine's apt configuration (/etc/apt/sources.list, /etc/apt/sources.list.d)"
	say "fetching PostgreSQL $version with pglogical ($suite)"
	rm -rf -- "$work"
	mkdir -p "$work"/{state/lists/partial,cache/archives/partial,apt.conf.d,tree}
	: >"$work/status"
	echo "deb [signed-by=$(keyring)] $uri $suite main" >"$work/sources.list"
	# The machine's own apt settings (proxies, certificates) hold, its hooks do not:
	# they are about the machine's packages.
	local f
	for f in /etc/apt/apt.conf.d/*; do
		[ -f "$f" ] && ln -s "$f" "$work/apt.conf.d/"
	done
	cat >"$work/apt.conf.d/zzz-private" <<-END
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear DPkg::Pre-Install-Pkgs;
		#clear DPkg::Pre-Invoke;
		#clear DPkg::Post-Invoke;
		Dir::State "$work/state";
		Dir::State::status "$work/status";
		Dir::Cache "$work/cache";
		Dir::Cache::archives "$work/cache/archives";
		Dir::Etc::sourcelist "$work/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::Log "$work";
		APT::Sandbox::User "";
		APT::Install-Recommends "false";
		APT::Default-Release "";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Acquire::http::Timeout "30";
		Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
		Debug::NoLocking "true";
	END
	echo "Dir::Etc::parts \"$work/apt.conf.d\";" >"$work/apt.conf"
	local packages=("postgresql-$version" "postgresql-$version-pglogical")
	command -v patchelf >/dev/null || packages+=(patchelf)
	local out=$work/apt.log
	if ! APT_CONFIG=$work/apt.conf apt-get -q update </dev/null >"$out" 2>&1; then
		# Old lists are refused, as on the machine itself: whether a stale mirror is to be
		# trusted is for the machine's own apt settings to say (Acquire::Check-Valid-Until).
		! grep -q 'is expired' "$out" ||
			die "the mirror $uri is stale: $(grep -m 1 'is expired' "$out" | sed 's/^E: //')"
		die "fetching the package lists of $suite failed: $(tail -n 3 "$out")"
	fi
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
