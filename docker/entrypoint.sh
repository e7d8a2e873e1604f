#!/bin/sh
# What a container of a node starts. The contract is that of the official postgres image:
#
#   POSTGRES_PASSWORD  must be set when the data directory is empty
#   POSTGRES_USER      the superuser to make (postgres)
#   POSTGRES_DB        the database to make (named like the user)
#   PGDATA             the data directory (/var/lib/postgresql/data)
#
# An empty data directory becomes a cluster first. Arguments go to the server; a first argument
# that is neither an option nor "postgres" is run as a command instead.
set -eu
fail() {
	echo "entrypoint: $*" >&2
	exit 1
}

case ${1:--} in
-*) set -- postgres "$@" ;;
postgres) ;;
*) exec "$@" ;;
esac

PGDATA=${PGDATA:-/var/lib/postgresql/data}
export PGDATA

# The server refuses to run as root. A volume's mount point may belong to root.
if [ "$(id -u)" = 0 ]; then
	install -d -m 0700 -o postgres -g postgres "$PGDATA"
	exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

# The cluster is made in $new and moved to its place when it is complete, PG_VERSION last: what a
# killed container leaves behind is never taken for a cluster.
new=$PGDATA/.initdb

contents() {
	find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found ! -path "$new" "$@"
}

make_cluster() {
	[ -n "${POSTGRES_PASSWORD:-}" ] || fail "POSTGRES_PASSWORD is not set, and $PGDATA holds no cluster yet"
	user=${POSTGRES_USER:-postgres}
	db=${POSTGRES_DB:-$user}
	trap 'exit 130' INT
	trap 'exit 143' TERM

	if [ -d "$new" ]; then
		contents -exec rm -rf {} +
		rm -rf "$new"
	fi
	[ -z "$(contents)" ] || fail "$PGDATA is not empty and holds no cluster"
	mkdir "$new"

	# Without TZ initdb reads every time zone there is to find the machine's.
	printf '%s\n' "$POSTGRES_PASSWORD" | TZ=UTC initdb -D "$new" --username="$user" --pwfile=/dev/stdin \
		--auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
	if [ "$db" != postgres ]; then
		quoted=$(printf '%s' "$db" | sed 's/"/""/g')
		echo "CREATE DATABASE \"$quoted\"" | postgres --single -c exit_on_error=on -D "$new" postgres >/dev/null
	fi
	printf "\nlisten_addresses = '*'\n" >>"$new/postgresql.conf"
	printf '\nhost all all all scram-sha-256\n' >>"$new/pg_hba.conf"

	find "$new" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
	mv "$new/PG_VERSION" "$PGDATA"
	trap - INT TERM
}

[ -e "$PGDATA/PG_VERSION" ] || make_cluster
[ ! -d "$new" ] || rmdir "$new"
exec "$@"
