# SPDX-License-Identifier: Apache-2.0
# Packages without root and without touching the machine: an apt of our own, with its own sources, state and cache, that
# believes nothing is installed. It learns the mirror (and a proxy) from the machine's own apt configuration.
# shellcheck shell=bash

apt_dir=$cache/apt

# mirror: the address of the Debian mirror the machine uses, e.g. of its "main" of its own release.
mirror()
{
	local site

	site=$(apt-get indextargets --format '$(SITE) $(ORIGIN) $(LABEL)' 'Created-By: Packages' 2>/dev/null |
		awk '$2 == "Debian" && $3 == "Debian" { print $1; exit }')
	# Before the machine's first "apt-get update" the origin is not known: take what looks like the archive.
	[ -n "$site" ] || site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' |
		grep -E '/debian/?$' | head -n 1) || true
	[ -n "$site" ] || die "no Debian mirror in apt's configuration (apt-get indextargets lists none)"
	printf '%s\n' "${site%/}"
}

# apt_update: make the private apt, or refresh its lists.
apt_update()
{
	local suite from

	mkdir -p "$apt_dir"/etc/{apt.conf.d,preferences.d,empty} "$apt_dir"/state/lists/partial "$apt_dir"/archives/partial
	: >"$apt_dir/state/status"
	from=$(mirror)
	for suite in $(awk '$1 !~ /^#/ && $1 != "native" && NF { print $3 }' "$setup_dir/packages" | sort -u); do
		printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$from" "$suite"
		# Backports need the release they are ports to.
		printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$from" "${suite%-backports}"
	done | sort -u >"$apt_dir/etc/sources.list"
	# Lists of source packages are long: only where one is wanted.
	for suite in $(awk '$2 ~ /^src:/ { print $3 }' "$setup_dir/packages" | sort -u); do
		printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$from" "$suite"
	done >>"$apt_dir/etc/sources.list"
	cat >"$apt_dir/apt.conf" <<-END
		Dir::Etc "$apt_dir/etc";
		Dir::Etc::sourceparts "$apt_dir/etc/empty";
		Dir::State "$apt_dir/state";
		Dir::State::status "$apt_dir/state/status";
		Dir::Cache "$apt_dir";
		Dir::Cache::archives "$apt_dir/archives";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Install-Recommends "false";
		APT::Sandbox::User "";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
		Debug::NoLocking "true";
	END
	apt-get -q -c "$apt_dir/apt.conf" update
	touch "$apt_dir/updated"
}

# fetch_packages GROUP [closure|source]: download the group's packages (with all they depend on; or, of source packages, which
# setup/packages names as src:PACKAGE, the upstream archive) into $apt_dir/GROUP. A version that has left the mirror is
# replaced by the newest of its suite.
fetch_packages()
(
	group=$1 how=${2:-}

	# Two products may be made at the same time; the lists are shared.
	exec 8>"$cache/locks/apt"
	flock 8
	if [ ! -e "$apt_dir/updated" ] || [ "$setup_dir/packages" -nt "$apt_dir/updated" ] ||
		[ -n "$(find "$apt_dir/updated" -mmin +1440)" ]; then
		run_logged "reading the package lists" "$cache/log/apt-update" apt_update
	fi
	flock -u 8

	wanted=() prefer=
	while read -r package suite version; do
		package=${package#src:}
		if ! have_version "$package" "$version"; then
			newest=$(newest_in "$package" "$suite")
			[ -n "$newest" ] || die "$package: not in $suite"
			tell "$package $version has left the mirror; taking $newest of $suite"
			version=$newest
		fi
		wanted+=("$package=$version")
		prefer=$suite
	done < <(packages_of "$group")

	rm -rf "${apt_dir:?}/$group"
	mkdir -p "$apt_dir/$group/partial"
	if [ "$how" = closure ]; then
		apt-get -q -y -c "$apt_dir/apt.conf" -t "$prefer" -o "Dir::Cache::archives=$apt_dir/$group" \
			--download-only install "${wanted[@]}"
	elif [ "$how" = source ]; then
		cd "$apt_dir/$group" || exit 1
		apt-get -q -c "$apt_dir/apt.conf" --download-only --tar-only source "${wanted[@]}"
	else
		cd "$apt_dir/$group" || exit 1
		apt-get -q -c "$apt_dir/apt.conf" download "${wanted[@]}"
	fi
)

have_version() { apt-cache -c "$apt_dir/apt.conf" madison "$1" | awk -v v="$2" '$3 == v { f = 1 } END { exit !f }'; }
newest_in() { apt-cache -c "$apt_dir/apt.conf" madison "$1" | awk -v s="$2/main" '$6 == s { print $3; exit }'; }

# unpack_packages GROUP DIR: unpack what fetch_packages got, and drop the archives.
unpack_packages()
{
	local deb

	for deb in "$apt_dir/$1"/*.deb; do dpkg-deb -x "$deb" "$2"; done
	rm -rf "${apt_dir:?}/$1"
}
