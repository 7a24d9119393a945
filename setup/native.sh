# SPDX-License-Identifier: Apache-2.0
# native: packages installed on the machine itself. Nothing to do when they are there.
# shellcheck shell=bash

missing_native()
{
	local package state

	while read -r package _; do
		# shellcheck disable=SC2016 # the braces are dpkg-query's
		state=$(dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null) || true
		case $state in *not-installed* | '') printf '%s\n' "$package" ;; *installed*) ;; *) printf '%s\n' "$package" ;; esac
	done < <(packages_of native)
}

setup_native()
{
	local missing as_root

	mapfile -t missing < <(missing_native)
	[ ${#missing[@]} -ne 0 ] || return 0
	as_root=()
	if [ "$(id -u)" -ne 0 ]; then
		if ! sudo -n true 2>/dev/null; then
			say "packages are missing; please run this, then try again:"
			printf '  sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n' "${missing[*]}" >&2
			exit 1
		fi
		as_root=(sudo -n)
	fi
	mkdir -p "$cache/locks"
	(
		exec 9>"$cache/locks/native"
		flock 9
		# The lists are as old as the machine's image; versions they name may be gone.
		run_logged "updating the machine's package lists" "$cache/log/native" \
			"${as_root[@]}" apt-get -q update
		run_logged "installing ${missing[*]}" "$cache/log/native" \
			"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
			-o DPkg::Lock::Timeout=600 install --no-install-recommends "${missing[@]}"
	)
}
