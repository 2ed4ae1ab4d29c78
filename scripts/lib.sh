# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the scripts share. Sourced, never run; the caller has set -euo pipefail.

say() { printf '%s: %s\n' "${0##*/}" "$*"; }

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# The top of this checkout, wherever the caller stands.
repo_root() { cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd; }

# Where the libraries live that the distribution lacks; shared between checkouts when FOLDFS_DEPS says so.
deps_prefix() { printf '%s\n' "${FOLDFS_DEPS:-$(repo_root)/.deps}"; }

# Lets pkg-config, and through it meson, see the prefix.
deps_env() {
	local prefix
	prefix=$(deps_prefix)
	export PKG_CONFIG_PATH="$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
}

# Runs a command whose output matters only when it fails: log_run LOGFILE COMMAND...
log_run() {
	local log=$1
	shift
	if ! "$@" >>"$log" 2>&1; then
		tail -n 30 "$log" >&2
		die "'$1' failed; the whole log is $log."
	fi
}
