#!/usr/bin/env bash
# self.sh VERSION makes the image of bin/spockchaos alone, spockchaos/spockchaos:VERSION, unless the engine has one of the
# same content; it is the image that `spockchaos run --topology docker` would make for itself.
set -Eeuo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../topology/local/prefix/lib.sh"
[ $# = 1 ] || die "usage: self.sh VERSION (make image-self)"
program=$repo/bin/spockchaos
[ -x "$program" ] || die "there is no $program: make build"
answer=$(timeout 20 docker version -f '{{.Server.Version}}' 2>&1) || die "no container engine answers: $(tail -n 1 <<<"$answer")"

# Each build of the program leaves an image; those that are a day old and that no container uses go.
docker image prune -a -f --filter label=io.spockchaos.image=self --filter until=24h >/dev/null

keyed=spockchaos/spockchaos:sha-$(sha256sum "$program" | cut -c 1-12)
state="is up to date"
if ! docker image inspect "$keyed" >/dev/null 2>&1; then
	answer=$(docker build -q -f "$repo/docker/Dockerfile.self" -t "$keyed" "$repo/bin" 2>&1) || die "docker build failed: $(tail -n 3 <<<"$answer")"
	state=built
fi
docker tag "$keyed" "spockchaos/spockchaos:$1"
docker tag "$keyed" spockchaos/spockchaos:latest # what a generated compose file names
say "spockchaos/spockchaos:$1 $state ($(($(docker image inspect -f '{{.Size}}' "$keyed") / 1000000)) MB, $keyed)"
