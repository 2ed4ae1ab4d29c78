# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Completion in bash for foldfs, mkfs.foldfs, fsck.foldfs, mount.foldfs and umount.foldfs.
#
# No command and no option is named here: the program on the command line is asked with --help each time,
# which takes milliseconds, and these shapes of its lines are understood:
#
#   "  -L, --label LABEL  text"            options; a word in capitals is the argument of the one before it
#   "  mode=CHOICE  text; a|b, default a"  what OPTION is; one without = is a flag
#   "  tier  text", and "tier move TIER"   a command; the words behind it, and what comes after these
#   "--destage: text" below a command      an option of this command alone
#
# Functions of bash-completion are not used, so that this works where only bash is installed.

# What a program says of itself. Those of administrators are often outside of a user's path.
_foldfs_help() {
	local program=$1
	[[ $program != \~/* ]] || program=$HOME/${program#*/}
	PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin "$program" --help 2>/dev/null </dev/null
}

# Sets `typed` to the words up to the cursor, and `kept` to the part of the last one that readline will
# leave as it is: bash also splits words at = and :, and only what comes after these is replaced.
_foldfs_take_words() {
	local i word=
	typed=("${COMP_WORDS[0]}")
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ ($word == [=:]* || (-n $word && ${typed[-1]} == *[=:])) && $COMP_LINE == *"${typed[-1]}$word"* ]]; then
			typed[-1]+=$word
		else
			typed+=("$word")
		fi
	done
	kept=${typed[-1]}
	[[ $word == [=:]* ]] || kept=${kept%"$word"}
	[[ $word != [\"\']* ]] || typed[-1]=${typed[-1]#?}
}

# Offers those of these lines that begin with what was typed.
_foldfs_offer() {
	local word
	while IFS= read -r word; do
		[[ -z $word || $word != "${typed[-1]}"* ]] || COMPREPLY+=("${word#"$kept"}")
	done <<<"$1"
}

# What the help calls the thing that comes after these words, if anything does: LABEL, PLACE ...
_foldfs_argument_of() {
	local before='(^|[^[:alnum:]-])' name=' ([[:upper:]]+)'
	[[ ! $help =~ $before"$1"$name ]] || printf '%s\n' "${BASH_REMATCH[2]}"
}

_foldfs_options() {
	local line word
	while IFS= read -r line; do
		[[ $line == '  -'* ]] || continue
		line=${line#  }
		for word in ${line%%  *}; do
			[[ $word != -* ]] || printf '%s\n' "${word%,}"
		done
	done <<<"$help"
}

# What -o takes, the last one of name=value,...
_foldfs_offer_pool_options() {
	local given=${1##*,} before name text choice
	before=${typed[-1]%"$given"}
	while read -r name text; do
		if [[ $given != *=* ]]; then
			[[ $name != *=* ]] || name=${name%%=*}=
			_foldfs_offer "$before$name"
		elif [[ $name == "${given%%=*}=CHOICE" ]]; then
			text=${text##*; }
			text=${text%%, default*}
			for choice in ${text//|/ }; do
				_foldfs_offer "$before${name%CHOICE}$choice"
			done
		elif [[ $name == "${given%%=*}=PATH" ]]; then
			compopt -o default
		fi
	done < <(sed -n '/^  [a-z]/p' <<<"$help")
	compopt -o nospace
}

# What the help says of a command: from its line to that of the next.
_foldfs_about() {
	local line inside=
	while IFS= read -r line; do
		[[ $line != '  '[!\ ]* ]] || inside=
		[[ $line != "  $1 "* ]] || inside=yes
		[[ -z $inside ]] || printf '%s\n' "${line#"  $1 "}"
	done <<<"$help"
}

# The words that may come after a command: the help has each behind its name, as in "tier status PATH: ..."
_foldfs_words_of() {
	_foldfs_about "$1" | sed 's/[;,] /\n/g' | sed -nE "s/^ *$1 ([a-z]+).*/\1/p"
}

# What may stand at the cursor in a command line of foldfs itself.
_foldfs_offer_commands() {
	local word before=() argument=
	for word in "${typed[@]:1:${#typed[@]}-2}"; do
		[[ $word == -* ]] || before+=("$word")
	done
	if [[ ${typed[-1]} == -* ]]; then
		_foldfs_offer "$(_foldfs_options)"
		[[ -z ${before[0]-} ]] || _foldfs_offer "$(_foldfs_about "${before[0]}" | grep -o -e '--[a-z]*')"
		return
	fi
	case ${#before[@]} in
	0) _foldfs_offer "$(sed -nE 's/^  ([a-z]+) .*/\1/p' <<<"$help")" && return ;;
	1) _foldfs_offer "$(_foldfs_words_of "${before[0]}")" ;;
	2) argument=$(_foldfs_argument_of "${before[*]}") ;;
	esac
	[[ ${argument:-PATH} != PATH ]] || compopt -o default
}

_foldfs() {
	local IFS=$' \t\n' typed=() kept help option value argument=
	COMPREPLY=()
	_foldfs_take_words
	help=$(_foldfs_help "${typed[0]}")
	case ${typed[-1]} in
	--*=*) option=${typed[-1]%%=*} value=${typed[-1]#*=} ;;
	-[!-]?*) option=${typed[-1]:0:2} value=${typed[-1]:2} ;;
	*) option=${typed[-2]} value=${typed[-1]} ;;
	esac
	[[ $option != -* ]] || argument=$(_foldfs_argument_of "$option")
	case $argument in
	OPTION) _foldfs_offer_pool_options "$value" ;;
	PLACE) compopt -o dirnames ;;
	?*) ;;
	*)
		if [[ ${typed[0]##*/} == foldfs ]]; then
			_foldfs_offer_commands
		elif [[ ${typed[-1]} == -* ]]; then
			_foldfs_offer "$(_foldfs_options)"
		else
			compopt -o dirnames
		fi
		;;
	esac
}

complete -F _foldfs foldfs mkfs.foldfs fsck.foldfs mount.foldfs umount.foldfs
