#!/usr/bin/env bash
# rootfs.sh VERSION DIR unpacks what a container of a node needs into DIR (which must not exist): Debian's
# PostgreSQL VERSION (15, 17 or 18) with pglogical and contrib, the libraries these load, and the few
# programs that our entrypoint and whoever looks after a node's files call. Needs no root.
#
# The packages come through a private apt state (topology/local/prefix/apt.sh) and are unpacked, not
# installed: none of their installation scripts does anything that a node needs, and so perl, LLVM and the
# package tools can stay out.
set -Eeuo pipefail
trap 'say "error: rootfs.sh: line $LINENO failed: $BASH_COMMAND"' ERR
prefix=$(dirname "${BASH_SOURCE[0]}")/../topology/local/prefix
. "$prefix/lib.sh"
. "$prefix/apt.sh"
umask 022

version=${1:-}
root=$(readlink -m -- "${2:-}")
case $version in
15) suite=bookworm ;;
17) suite=trixie ;;
18) suite=sid ;;
*) die "usage: rootfs.sh 15|17|18 DIR" ;;
esac
[ $# = 2 ] && [ ! -e "$root" ] || die "usage: rootfs.sh 15|17|18 DIR, where DIR does not exist"

work=$root.work
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf -- "$work"
mkdir -p "$work/deb" "$root"
export APT_CONFIG=$work/apt.conf

# Not base-passwd, procps or anything that is configured rather than unpacked: see accounts.
wanted=("postgresql-$version" "postgresql-$version-pglogical"
	base-files bash coreutils dash findutils grep libc-bin sed tzdata util-linux)

# unneeded: packages of the closure that serve installation, or that a node never loads.
unneeded() {
	case $1 in
	adduser | debconf | debianutils | dpkg | init-system-helpers | login* | lsb-base | passwd | sensible-utils | \
		sysvinit-utils | ucf | usrmerge | base-passwd | tar | mawk | netbase | procps | libproc2* | \
		postgresql-common* | postgresql-client-common | ssl-cert | openssl* | readline-common | \
		perl* | libperl* | lib*-perl | libgdbm* | libdb5* | libdebconfclient0 | libtext-*-perl | \
		libllvm* | libz3* | locales | libc-l10n | libc-gconv* | gcc-*-base | \
		systemd | libsystemd-shared | libpam-* | libsemanage* | libsepol* | libaudit-common | \
		util-linux-extra | libblkid1 | libmount1 | libsmartcols1 | libfdisk1 | libudev1 | libsqlite3-0 | liblastlog2* | \
		libbsd0 | libmd0 | libedit2 | libncursesw6 | libbz2-1.0) return 0 ;;
	esac
	return 1
}

# download fetches the packages that are needed, as archives in $work/deb.
download() {
	local log=$work/apt.log name version names=()
	apt-get -s -q -y install "${wanted[@]}" >"$work/plan" 2>"$log" </dev/null ||
		die "$suite has no such set of packages: ${wanted[*]}: $(tail -n 3 "$log")"
	while read -r name version; do
		unneeded "$name" && continue
		names+=("$name")
		printf '%s %s\n' "$name" "$version"
	done < <(awk '$1 == "Inst" { print $2, substr($3, 2) }' "$work/plan") >"$work/packages"
	(cd "$work/deb" && apt-get -q download "${names[@]}" >"$log" 2>&1 </dev/null) ||
		die "fetching packages of $suite failed: $(tail -n 3 "$log")"
}

# unpack puts them below $root, without documentation and what only builds or translates.
unpack() {
	local dir deb only
	for dir in bin sbin lib lib64; do # older packages still carry files in /bin and /lib
		mkdir -p "$root/usr/$dir"
		ln -s "usr/$dir" "$root/$dir"
	done
	for deb in "$work"/deb/*.deb; do
		only=()
		case ${deb##*/} in util-linux_*) only=(./usr/bin/setpriv) ;; esac
		dpkg-deb --fsys-tarfile "$deb" | tar -x -p --keep-directory-symlink -C "$root" "${only[@]}" ||
			die "unpacking ${deb##*/} failed"
	done
	cd "$root"
	find usr/share/doc \( -type f -o -type l \) ! -name copyright -delete
	find usr/share/doc -type d -empty -delete
	rm -rf usr/share/{man,locale,lintian,bug,info,perl5,bash-completion,menu,pixmaps,gcc,debianutils} usr/{games,include,src,local/man} \
		usr/share/zoneinfo/{posix,right} usr/lib/*/{gconv,perl*,engines-*,cmake,pkgconfig} \
		"usr/lib/postgresql/$version/lib/"{bitcode,pgxs,llvmjit*}
}

# check looks for a library that unneeded should not have left out: outside of $root, or nowhere.
check() {
	local loader libs file magic found
	cd "$root"
	loader=$(find usr/lib -name 'ld-linux*.so.*' | head -n 1)
	[ -n "$loader" ] || die "no dynamic loader among the packages of $suite"
	libs=$(dirname "$loader")
	for file in usr/bin/* "usr/lib/postgresql/$version"/{bin/*,lib/*.so}; do
		case $file in *_and_*) continue ;; esac # encoding conversions load nothing but libc
		[ -f "$file" ] && [ ! -L "$file" ] && read -r -N 4 magic <"$file" && [ "$magic" = $'\x7fELF' ] || continue
		found=$("$loader" --inhibit-cache --library-path "$libs" --list "$file" 2>&1) || true
		case $found in *'not found'* | *'=> /'* | *'error while'*)
			die "$file of $suite lacks a library: $(grep -m 1 -e 'not found' -e '=> /' -e 'error while' <<<"$found")" ;;
		esac
	done
}

# accounts writes what installation scripts would have: users, the server's directories, /tmp.
accounts() {
	cd "$root"
	printf '%s\n' root:x:0:0:root:/root:/bin/bash \
		postgres:x:999:999:PostgreSQL:/var/lib/postgresql:/bin/bash \
		nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin >etc/passwd
	printf '%s\n' root:x:0: tty:x:5: postgres:x:999: nogroup:x:65534: >etc/group
	printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >etc/nsswitch.conf
	mkdir -p tmp run dev proc sys root var/tmp run/postgresql var/lib/postgresql/data
	rm -rf var/run
	ln -s ../run var/run
	chmod 1777 tmp var/tmp
	chmod 700 root var/lib/postgresql/data
	install -D -m 755 "$repo/docker/entrypoint.sh" usr/local/bin/docker-entrypoint.sh
	# There is no package database to ask what the image consists of.
	cp "$work/packages" etc/packages
}

# took STEP prints how long STEP was at work.
took() {
	local start=${EPOCHREALTIME/./}
	"$@"
	local ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	printf 'PostgreSQL %s: %-12s %3d.%d s\n' "$version" "$1" $((ms / 1000)) $((ms % 1000 / 100)) >&2
}
lists() { private_apt "$work" "$suite"; }
took lists
took download
took unpack
took check
accounts
