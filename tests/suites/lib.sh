# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What the suite scripts share: their options, a foldfs to run on, and the last line they print.
#
# A script sets SUITE_USAGE, calls suite_args "$@", then either suite_begin (a mounted directory is wanted) or
# makes its own mounts from the pool_* functions (xfstests), and ends with suite_end PASSED FAILED [SKIPPED].
#
# Set by suite_args:   SUITE_DIR  the built suite          BUILD    where mkfs.foldfs, mount.foldfs, fsck.foldfs are
#                      OPTIONS    mount options, or empty  EXTRA    array: what followed --
#                      WORK       scratch directory of this run, removed at the end unless something failed
#                      LOG        everything the suite said
# Set by suite_begin:  DIR        an empty directory on the filesystem under test

SUITE_NAME=$(basename "$0")
SUITE_KNOWN=$(realpath "$0").known
BUILD=${FOLDFS_BUILD:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build}
OPTIONS=${FOLDFS_OPTIONS:-}
MOUNT=
POOL=
KEEP=
EXTRA=()

die() {
	echo "$SUITE_NAME: $*" >&2
	exit 2
}

suite_usage() {
	cat <<-EOF
	usage: $SUITE_NAME [option]... SUITE_DIR [-- argument...]
	$SUITE_USAGE

	  --mount DIR    run on DIR, a mounted filesystem, instead of a pool made for this run
	  --build DIR    where mkfs.foldfs and mount.foldfs are (default: build/, or \$FOLDFS_BUILD)
	  --work DIR     put the pool and the logs under DIR (default: \$TMPDIR or /var/tmp)
	  -o OPTIONS     mount options (default: \$FOLDFS_OPTIONS)
	  --keep         leave the pool, the mount and the logs in place
	EOF
}

# Options of one suite alone: a script may define suite_option NAME VALUE, which returns how many words it took.
suite_args() {
	local work=${TMPDIR:-/var/tmp} taken
	# shellcheck disable=SC2034 # the scripts use EXTRA
	while [ $# -gt 0 ]; do
		case $1 in
		--mount) MOUNT=${2:?--mount needs a directory}; shift ;;
		--build) BUILD=${2:?--build needs a directory}; shift ;;
		--work) work=${2:?--work needs a directory}; shift ;;
		-o) OPTIONS=${2:?-o needs mount options}; shift ;;
		--keep) KEEP=1 ;;
		-h | --help) suite_usage; exit 0 ;;
		--) shift; EXTRA=("$@"); break ;;
		-*)
			taken=0
			if declare -F suite_option >/dev/null; then suite_option "$@" || taken=$?; fi
			[ "$taken" -gt 0 ] || die "unknown option $1 (try --help)"
			shift $((taken - 1))
			;;
		*)
			[ -z "${SUITE_DIR:-}" ] || die "one suite directory only: $1"
			SUITE_DIR=$1
			;;
		esac
		shift
	done
	[ -n "${SUITE_DIR:-}" ] || { suite_usage >&2; exit 2; }
	[ "$(id -u)" = 0 ] || die "needs root"
	SUITE_DIR=$(realpath -e "$SUITE_DIR") || die "no such suite directory"
	[ -z "$MOUNT" ] || MOUNT=$(realpath -e "$MOUNT") || die "no such directory to run on"
	WORK=$(realpath "$(mktemp -d "$work/foldfs-$SUITE_NAME.XXXXXX")")
	chmod 755 "$WORK"
	LOG=$WORK/log
	: >"$LOG"
	trap suite_cleanup EXIT
	trap 'exit 130' INT TERM
}

# Where the suite keeps a program: the first of the given names that exists under SUITE_DIR.
suite_program() {
	local name
	for name; do
		if [ -x "$SUITE_DIR/$name" ]; then
			echo "$SUITE_DIR/$name"
			return
		fi
	done
	die "$SUITE_DIR has no $1: is it built?"
}

pool_make() {
	"$BUILD/mkfs.foldfs" "$1" >>"$LOG" 2>&1 || { tail -n 5 "$LOG" >&2; die "mkfs.foldfs $1 failed"; }
}

pool_mount() {
	mkdir -p "$2"
	"$BUILD/mount.foldfs" "$1" "$2" ${OPTIONS:+-o "$OPTIONS"} >>"$LOG" 2>&1 ||
		{ tail -n 5 "$LOG" >&2; die "mount.foldfs $1 $2 failed"; }
	mountpoint -q "$2" || die "mount.foldfs succeeded and $2 is not a mount point"
}

# Returns when the daemon has let go of the pool, as the installed umount helper does.
pool_umount() {
	if [ -x "$BUILD/umount.foldfs" ]; then
		"$BUILD/umount.foldfs" "$1" >>"$LOG" 2>&1
	else
		umount "$1" >>"$LOG" 2>&1
	fi
}

# What fsck.foldfs thinks of an unmounted pool; a build without it cannot tell, and says so.
pool_check() {
	[ -x "$BUILD/fsck.foldfs" ] || { echo "note: $BUILD has no fsck.foldfs, the pool is not checked"; return 0; }
	"$BUILD/fsck.foldfs" -n "$1" >>"$LOG" 2>&1
}

suite_begin() {
	if [ -z "$MOUNT" ]; then
		[ -x "$BUILD/mkfs.foldfs" ] || die "no mkfs.foldfs in $BUILD: build first, or give --build or --mount"
		POOL=$WORK/pool
		MOUNT=$WORK/mnt
		pool_make "$POOL"
		pool_mount "$POOL" "$MOUNT"
	fi
	DIR=$(mktemp -d "$MOUNT/$SUITE_NAME.XXXXXX")
	chmod 755 "$DIR"
}

# Every name, attribute, extended attribute and byte under DIR, one sorted line each.
suite_manifest() {
	(
		cd "$DIR" || exit
		find . -printf '%p %y ino=%i mode=%m nlink=%n uid=%U gid=%G size=%s mtime=%T@ -> %l\n' | LC_ALL=C sort
		find . -type f -exec sha256sum {} + | LC_ALL=C sort -k2
		getfattr -hRd -m - . 2>/dev/null || true
	)
}

# Mounts the pool anew and compares everything under DIR with what was there before. Needs a pool of our own (POOL set).
suite_survives_remount() {
	suite_manifest >"$WORK/before" || return 1
	pool_umount "$MOUNT" || return 1
	pool_mount "$POOL" "$MOUNT"
	suite_manifest >"$WORK/after" || return 1
	diff "$WORK/before" "$WORK/after" >>"$LOG" || { diff "$WORK/before" "$WORK/after" | head -n 20; return 1; }
}

# Why the test NAME is expected to fail, as SCRIPT.known tells ("NAME reason" lines); empty if it isn't.
suite_known() {
	sed -n "s,^$1  *,,p" "$SUITE_KNOWN"
}

# suite_end PASSED FAILED [SKIPPED]: the last line, and the exit status.
suite_end() {
	local passed=$1 failed=$2 skipped=${3:-0}
	if [ -n "$POOL" ] && [ -z "$KEEP" ]; then
		cd /
		if ! pool_umount "$MOUNT"; then
			echo "FAIL umount of the pool"
			failed=$((failed + 1))
		elif ! pool_check "$POOL"; then
			echo "FAIL fsck.foldfs -n finds damage after the run"
			failed=$((failed + 1))
		fi
	fi
	[ "$failed" = 0 ] || { KEEP_LOG=1; echo "log: $LOG"; }
	if [ "$skipped" = 0 ]; then
		echo "$passed passed, $failed failed"
	else
		echo "$passed passed, $failed failed, $skipped skipped"
	fi
	[ "$failed" = 0 ] || exit 1
}

suite_cleanup() {
	local status=$?
	trap - EXIT
	cd /
	[ -z "$KEEP" ] || { echo "kept: $WORK" >&2; exit "$status"; }
	if [ -n "$POOL" ]; then
		! mountpoint -q "$MOUNT" || umount "$MOUNT" 2>/dev/null || umount -l "$MOUNT" || true
	elif [ -n "${DIR:-}" ]; then
		rm -rf --one-file-system "$DIR" 2>/dev/null || true
	fi
	if [ "$status" = 0 ] || [ ! -s "$LOG" ]; then
		rm -rf --one-file-system "$WORK"
	elif [ -z "${KEEP_LOG:-}" ]; then
		echo "log: $LOG" >&2
	fi
	exit "$status"
}
