# shellcheck shell=bash
# A private apt state: packages of any Debian suite beside the machine's own, without root and
# without touching the machine. To be sourced after lib.sh.

# mirror [-security] prints the address from which this machine gets its own Debian release, or the security
# updates to it: first entry of type deb for the release's code name, in either format of apt's sources.
mirror() {
	local name stable=stable${1:-}
	name=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")${1:-}
	local found=()
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -e "$f" ] && found+=("$f")
	done
	[ ${#found[@]} = 0 ] || awk -v name="$name" -v stable="$stable" '
		function done_with() {
			if (types ~ /(^| )deb( |$)/ && enabled !~ /^(no|false)$/ && components ~ /(^| )main( |$)/) {
				n = split(suites, s, " ")
				for (i = 1; i <= n; i++) if (s[i] == name || s[i] == stable) {
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
	{ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } | awk -v name="$name" -v stable="$stable" '
		$1 == "deb" {
			line = $0; sub(/^deb[ \t]+/, "", line); sub(/^\[[^]]*\][ \t]*/, "", line)
			split(line, p, /[ \t]+/)
			if (p[2] == name || p[2] == stable) { print p[1]; exit }
		}'
}

keyring() {
	local k
	for k in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
		[ -e "$k" ] && echo "$k" && return
	done
	die "no keyring of the Debian archive below /usr/share/keyrings (package debian-archive-keyring)"
}

# private_apt DIR SUITE makes a private apt state of SUITE in DIR, with an empty package database, and fetches
# its package lists; those of its security updates too, if the machine gets its own. From then on
# APT_CONFIG=DIR/apt.conf apt-get … speaks of it.
private_apt() {
	local work=$1 suite=$2 out=$1/update.log uri security keys f
	uri=$(mirror | head -n 1)
	[ -n "$uri" ] || die "no Debian mirror in this machine's apt configuration (/etc/apt/sources.list, /etc/apt/sources.list.d)"
	mkdir -p "$work"/{state/lists/partial,cache/archives/partial,apt.conf.d}
	: >"$work/status"
	keys=$(keyring)
	echo "deb [signed-by=$keys] $uri $suite main" >"$work/sources.list"
	security=$(mirror -security | head -n 1)
	if [ -n "$security" ] && [ "$suite" != sid ]; then
		echo "deb [signed-by=$keys] $security $suite-security main" >>"$work/sources.list"
	fi
	# The machine's own apt settings (proxies, certificates) hold, its hooks do not:
	# they are about the machine's packages.
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
		Dir::Cache::pkgcache "pkgcache.bin";
		Dir::Etc::sourcelist "$work/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::Log "$work";
		APT::Sandbox::User "";
		APT::Install-Recommends "false";
		APT::Default-Release "";
		Acquire::Languages "none";
		Acquire::GzipIndexes "false";
		Acquire::Retries "3";
		Acquire::http::Timeout "30";
		Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
		Debug::NoLocking "true";
	END
	echo "Dir::Etc::parts \"$work/apt.conf.d\";" >"$work/apt.conf"
	if ! APT_CONFIG=$work/apt.conf apt-get -q update </dev/null >"$out" 2>&1; then
		# Old lists are refused, as on the machine itself: whether a stale mirror is to be
		# trusted is for the machine's own apt settings to say (Acquire::Check-Valid-Until).
		! grep -q 'is expired' "$out" ||
			die "the mirror $uri is stale: $(grep -m 1 'is expired' "$out" | sed 's/^E: //')"
		die "fetching the package lists of $suite failed: $(tail -n 3 "$out")"
	fi
}
