#!/usr/bin/env bash
# image.sh VERSION… builds the image of a node, spockchaos/node:pgVERSION-pglogical, for PostgreSQL 15, 17 or 18, without
# a registry: rootfs.sh's tree of Debian packages, imported. Several versions are built side by side.
#
# The image carries a hash of what it was made by, and is not made again as long as that is the same; to get
# newer packages, remove it first. It gets its name only after a server out of it was seen to work. Needs no root, only the
# right to talk to the engine. Exit status 2: it could not be built.
set -Eeuo pipefail
trap 'say "error: image.sh: line $LINENO failed: $BASH_COMMAND"' ERR
. "$(dirname "${BASH_SOURCE[0]}")/../topology/local/prefix/lib.sh"
umask 022

for version in "$@"; do
	case $version in 15 | 17 | 18) ;; *) set -- ;; esac
done
[ $# -gt 0 ] || die "usage: image.sh 15|17|18 … (make image PG=17)"

if [ $# -gt 1 ]; then
	builds=()
	for version in "$@"; do
		"${BASH_SOURCE[0]}" "$version" &
		builds+=($!)
	done
	status=0
	for build in "${builds[@]}"; do
		wait "$build" || status=2
	done
	exit $status
fi

ref=spockchaos/node:pg$version-pglogical
recipe=$(cd "$repo" && sha256sum docker/image.sh docker/Dockerfile docker/rootfs.sh docker/entrypoint.sh topology/local/prefix/apt.sh | sha256sum | cut -c 1-64)

built() { [ "$(docker image inspect -f '{{index .Config.Labels "io.spockchaos.recipe"}}' "$ref" 2>/dev/null)" = "$recipe" ]; }
size() { printf '%d MB' $(($(docker image inspect -f '{{.Size}}' "$1") / 1000000)); }
finish() {
	say "$ref is up to date ($(size "$ref"))"
	exit 0
}
built && finish

answer=$(timeout 20 docker version -f '{{.Server.Version}}' 2>&1) || die "no container engine answers: $(tail -n 1 <<<"$answer")"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
	die "this machine has no apt-get to fetch Debian packages with; where a registry can be reached: docker build -f docker/Dockerfile --build-arg PG=$version -t $ref ."

cache=$(cache_dir)/image
mkdir -p "$cache"
exec 9>"$cache/$version.lock"
flock -w 900 9 || die "another build of $ref has not ended within 15 minutes ($cache/$version.lock)"
built && finish

work=$cache/$version.build
new= # the image while it has no name
cleanup() {
	rm -rf -- "$work"
	[ -z "$new" ] || docker image rm "$new" >/dev/null 2>&1 || true
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf -- "$work"
mkdir -p "$work"

# import makes an image of the tree, with the settings of docker/Dockerfile's last stage. What belongs to
# postgres goes into the archive last.
import() {
	local root=$work/root tar=$work/root.tar base=spockchaos/node:pg$version-building line stop='' packages
	packages=$(grep -E '^postgresql-[0-9]+(-pglogical)? ' "$root/etc/packages" | paste -s -d ,)
	local changes=("--change=LABEL io.spockchaos.recipe=$recipe io.spockchaos.packages=\"$packages\"")
	while read -r line; do
		case $line in
		ARG* | COPY* | RUN*) ;; # the archive has it
		STOPSIGNAL*) stop=$line ;; # the one setting that an import cannot make
		*) changes+=("--change=${line//\$PG/$version}") ;;
		esac
	done < <(sed '1,/^FROM scratch$/d' "$repo/docker/Dockerfile")
	tar -c -f "$tar" --numeric-owner --owner=0 --group=0 --exclude=./run/postgresql --exclude=./var/lib/postgresql -C "$root" .
	tar -r -f "$tar" --numeric-owner --owner=999 --group=999 -C "$root" ./run/postgresql ./var/lib/postgresql
	docker import "${changes[@]}" "$tar" "$base" >"$work/log"
	printf 'FROM %s\n%s\n' "$base" "$stop" | docker build -q --iidfile "$work/id" - >"$work/log" 2>&1 ||
		die "docker build failed: $(tail -n 3 "$work/log")"
	new=$(cat "$work/id")
	docker image rm "$base" >"$work/log" # its name alone
}

# verify starts a single-user server, by the entrypoint, with what a rescue needs of it.
verify() {
	local out
	out=$(printf 'CREATE EXTENSION %s\n' pglogical dblink pg_walinspect |
		docker run --rm -i --network none --tmpfs /var/lib/postgresql/data -e POSTGRES_PASSWORD=secret "$new" postgres --single \
			-c shared_preload_libraries=pglogical -c wal_level=logical -c track_commit_timestamp=on -c exit_on_error=on postgres 2>&1) ||
		die "no server comes up in the image for PostgreSQL $version: $(grep -m 1 -E '(ERROR|FATAL|PANIC|error|entrypoint):' <<<"$out" || tail -n 1 <<<"$out")"
}

# took STEP prints how long STEP was at work.
took() {
	local start=${EPOCHREALTIME/./}
	"$@"
	local ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	printf 'PostgreSQL %s: %-12s %3d.%d s\n' "$version" "$1" $((ms / 1000)) $((ms % 1000 / 100)) >&2
}

"$repo/docker/rootfs.sh" "$version" "$work/root"
took import
took verify
old=$(docker image inspect -f '{{.Id}}' "$ref" 2>/dev/null) || true
docker tag "$new" "$ref"
new=
[ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true # containers may still use it
say "$ref built ($(size "$ref"): $(docker image inspect -f '{{index .Config.Labels "io.spockchaos.packages"}}' "$ref"))"
