# SPDX-License-Identifier: Apache-2.0
# Shared by setup/setup and its parts: where the cache is, how a product is keyed, built once and kept.
# shellcheck shell=bash

setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top_dir=$(dirname "$setup_dir")
cache=${SLUICE_CACHE:-${XDG_CACHE_HOME:-${HOME:?neither SLUICE_CACHE nor HOME is set}/.cache}/sluice}
arch=x86_64

# What the user must see even from inside of a logged command goes to descriptor 3.
exec 3>&2
tell() { printf 'setup: %s\n' "$*" >&3; }

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# packages_of GROUP: the lines "PACKAGE SUITE VERSION" of one group of setup/packages.
packages_of() { awk -v g="$1" '$1 == g { print $2, $3, $4 }' "$setup_dir/packages"; }

# key_of STRING...: a short hash. Files are named as @FILE; their comments and blank lines do not count,
# so that a better comment does not cost anybody a kernel build.
key_of()
{
	local part

	for part; do
		case $part in
		@*) grep -Ev '^[[:space:]]*(#|$)' "${part#@}" || true ;;
		*) printf '%s\n' "$part" ;;
		esac
	done | sha256sum | cut -c1-12
}

# --- progress and logs --------------------------------------------------------------------------------------

# run_logged LABEL LOG COMMAND...: run a long command with its output in LOG and one progress line on stderr. On a
# terminal the line is redrawn, elsewhere it is repeated now and then. $progress, when set, is a command
# that prints how far LOG has come. On failure the end of LOG is shown.
run_logged()
{
	local label=$1 log=$2 ticker status
	shift 2

	mkdir -p "$(dirname "$log")"
	say "$label"
	tick "$label" "$log" &
	ticker=$!
	# Not "|| status=$?": that would switch off errexit inside of what is run.
	set +e
	(set -e; "$@") >"$log" 2>&1 </dev/null
	status=$?
	set -e
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	if [ -t 2 ]; then printf '\r\033[K' >&2; fi
	if [ "$status" -ne 0 ]; then
		say "$label: failed (status $status); the last lines of $log:"
		tail -n 20 "$log" >&2
		return "$status"
	fi
}

tick()
{
	local label=$1 log=$2 begun=$SECONDS sleeper='' how_far
	trap '[ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null; exit 0' TERM
	trap 'exit 0' INT

	# The lock belongs to the work, not to its clock.
	exec 9>&-
	# Not longer than the script it ticks for, should that be killed.
	while kill -0 "$$" 2>/dev/null; do
		if [ -t 2 ]; then sleep 3 & else sleep 30 & fi
		sleeper=$!
		wait "$sleeper"
		how_far=$(${progress:-:} "$log" 2>/dev/null) || true
		how_far="$((SECONDS - begun)) s${how_far:+, $how_far}"
		if [ -t 2 ]; then printf '\r\033[Ksetup: %s (%s)' "$label" "$how_far" >&2
		else say "$label ($how_far)"; fi
	done
}

# --- products -----------------------------------------------------------------------------------------------
# A product is a directory $cache/WHAT-KEY. It appears by a rename when it is complete, so that it is
# either whole or absent. Functions WHAT_key and make_WHAT (called with the directory to fill) define it.

product_path() { printf '%s/%s-%s\n' "$cache" "$1" "$("$1_key")"; }

# product WHAT: make it unless it is there, set $product to its path.
product()
{
	local what=$1 path tmp status
	path=$(product_path "$what")

	if [ ! -d "$path" ]; then
		mkdir -p "$cache/locks" "$cache/tmp"
		# Not "|| die": that would switch off errexit inside.
		set +e
		(
			set -e
			exec 9>"$cache/locks/$what"
			if ! flock -n 9; then
				say "$what: waiting for another setup that is making it"
				flock 9
			fi
			# Whoever held the lock has probably made it.
			[ ! -d "$path" ] || exit 0
			tmp=$cache/tmp/$what-${path##*-}
			rm -rf "$tmp"
			mkdir -p "$tmp"
			"make_$what" "$tmp"
			touch "$tmp"
			mv -T "$tmp" "$path"
			prune "$what" "$path"
		)
		status=$?
		set -e
		[ "$status" -eq 0 ] || die "$what: not made"
	else
		# The age says when it was last used; prune goes by it.
		touch -c "$path"
	fi
	product=$path
}

# prune WHAT NEWEST: keep the three generations used last (a switch between two branches stays free), and what another run
# may be using just now.
prune()
{
	local old

	# shellcheck disable=SC2012 # the names are ours: no newlines
	ls -dt "$cache/$1"-* | { grep -vxF "$2" || true; } | tail -n +3 | while read -r old; do
		find "$old" -maxdepth 0 -mmin +180 -exec rm -rf {} +
	done
	find "$cache/tmp" -mindepth 1 -maxdepth 1 -name "$1-*" -exec rm -rf {} +
}
