# SPDX-License-Identifier: MIT
"""Completion in shells: what is offered is what the programs know, no less and no more.

Completion reads --help itself, so what the programs know is also taken from elsewhere: from their source,
and from what they say to who calls them wrongly.
"""

import os
import pty
import re
import select
import shutil

import pytest

import env

pytestmark = pytest.mark.foldfs

FOLDER = env.SOURCE / "tools/completion"
SOURCES = {"foldfs": "foldfs/foldfs_main.c", "mkfs.foldfs": "mkfs/mkfs_main.c",
           "fsck.foldfs": "fsck/fsck_main.c", "mount.foldfs": "mount/mount_main.c",
           "umount.foldfs": "mount/umount_main.c"}

# Stands in for readline, which splits words as below and does what the function says with compopt.
CALL = """
source "$1"; COMP_LINE=$2; shift 2
compopt() { printf 'compopt %s\\n' "$2"; }
read -r _ _ function _ < <(complete -p "$1")
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_POINT=${#COMP_LINE}
"$function" "$1" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
[ ${#COMPREPLY[@]} = 0 ] || printf 'reply %s\\n' "${COMPREPLY[@]}"
"""


def environment():
    """The programs of this build are found first."""
    for name in SOURCES:
        env.binary(name)
    return os.environ | {"PATH": f"{env.BUILD}:{os.environ['PATH']}", "INPUTRC": "/dev/null",
                         "TERM": "dumb"}


def words_of(line):
    """As bash has them: = and : are words of their own."""
    words = [part for word in line.split() for part in re.findall(r"[=:]+|[^=:]+", word)]
    return words + [""] if line.endswith(" ") else words


def complete(line):
    """What bash is offered for the end of a line, and the options that the function sets."""
    done = env.run("bash", "--norc", "-uc", CALL, "bash", FOLDER / "foldfs.bash", line,
                   *words_of(line), env=environment())
    assert done.stderr == ""
    said = [entry.split(" ", 1) for entry in done.stdout.splitlines()]
    replies = [text for kind, text in said if kind == "reply"]
    assert len(set(replies)) == len(replies), f"offered twice: {replies}"
    return set(replies), {text for kind, text in said if kind == "compopt"}


def offered(line):
    return complete(line)[0]


def source_of(program):
    return (env.SOURCE / "tools" / SOURCES[program]).read_text()


def help_of(program):
    return env.run(env.binary(program), "--help").stdout


def commands():
    """What foldfs says to who names none."""
    said = env.run(env.binary("foldfs"), code=2).stderr
    named, = re.findall(r"a command is wanted: (.*);", said)
    return set(re.findall(r"\w+", named)) - {"or"}


def config_table():
    """Name, kind, range and scopes of all options that -o takes."""
    text = (env.SOURCE / "store/config.c").read_text()
    text, = re.findall(r" table\[\] = \{\n(.*?)\n\};", text, re.S)
    found = re.findall(r'\{ \{ "(\w+)", "(\w+)", "([^"]*)", "[^"]*",\s*(?:"[^"]*"\s*)+,\s*([A-Z_ |]+) \}', text)
    assert len(found) == text.count('{ { "')
    return found


def pool_options(program):
    wanted = "CONFIG_MKFS" if program == "mkfs.foldfs" else "CONFIG_MOUNT"
    return [(name, kind, values) for name, kind, values, scopes in config_table()
            if "ALL" in scopes or wanted in scopes]


# ---- bash


def test_commands():
    assert offered("foldfs ") == offered("foldfs --json ") == commands() | {"help", "version"}
    assert offered("foldfs st") == {"stats"}
    assert offered("foldfs nothing") == set()


@pytest.mark.parametrize("command", ["replica", "tier"])
def test_words_that_a_command_wants(command):
    said = env.run(env.binary("foldfs"), command, code=2).stderr
    wanted, = re.findall(f"foldfs {command} wants (.*), and then", said)
    words = set(re.findall(r"\b[a-z]+\b", wanted)) - {"one", "of", "and", "or"}
    assert offered(f"foldfs {command} ") == offered(f"foldfs {command} --json ") == words


def test_words_that_scrub_may_be_given():
    listed, = re.findall(r"take_action\(.*?actions\[\] = \{([^}]*)\}", source_of("foldfs"), re.S)
    replies, options = complete("foldfs scrub ")
    assert replies == set(re.findall(r"\w+", listed)) == {"start", "status", "stop"}
    assert options == {"default"}
    for command in commands() - {"scrub", "tier", "replica"}:
        assert complete(f"foldfs {command} ") == (set(), {"default"}), command


@pytest.mark.parametrize("program", list(SOURCES))
def test_long_options(program):
    known = {"--" + name for name in
             re.findall(r'\{ "([\w-]+)", (?:no|required|optional)_argument', source_of(program))}
    assert "--help" in known
    found = offered(f"{program} --")
    if program == "foldfs":
        found = found.union(*(offered(f"foldfs {command} --") for command in commands()))
    assert found == known


def test_long_options_of_one_command():
    belong = {"--destage": {"sync"}, "--media": {"du"}, "--json": commands()}
    for option, where in belong.items():
        assert {command for command in commands() if option in offered(f"foldfs {command} /mnt --")} == where


@pytest.mark.parametrize("program", list(SOURCES))
def test_short_options(program):
    text = help_of(program)
    heads = re.findall(r"^  (-.*?)(?:  |$)", text, re.M)
    shown = {option for head in heads for option in re.findall(r"(?<!\S)-\w", head)}
    accepted, = re.findall(r'getopt_long\(argc, argv, ":([\w:]+)"', source_of(program))
    found = {word for word in offered(f"{program} -") if not word.startswith("--")}
    assert {"-h", "-V"} <= shown == found <= {"-" + letter for letter in accepted}
    usage = re.findall(r"\[-([a-zA-Z]+)[] ]", text.splitlines()[0])
    assert {"-" + letter for letters in usage for letter in letters} <= found


@pytest.mark.parametrize("program", ["mkfs.foldfs", "mount.foldfs"])
def test_options_of_the_pool(program):
    names = {name + ("" if kind == "flag" else "=") for name, kind, _ in pool_options(program)}
    assert complete(f"{program} -o ") == (names, {"nospace"})
    assert offered(f"{program} -o ro,") == {"ro," + name for name in names}
    assert offered(f"{program} -o zstd_level=3,cache_s") == {"3,cache_size="}
    assert offered(f"{program} -ocache_s") == {"-ocache_size="}


@pytest.mark.parametrize("program", ["mkfs.foldfs", "mount.foldfs"])
def test_values_of_options_of_the_pool(program):
    for name, kind, values in pool_options(program):
        replies, options = complete(f"{program} -o zstd_level=3,{name}=")
        assert replies == (set(values.split("|")) if kind == "choice" else set()), name
        assert ("default" in options) == (kind == "path"), name
    assert offered(f"{program} -o mode=na") == offered(f"{program} -omode=na") == {"native"}


@pytest.mark.parametrize("line, fallback", [
    ("mkfs.foldfs ", {"dirnames"}),
    ("mkfs.foldfs -q --from ", {"dirnames"}),
    ("mkfs.foldfs --follow=/srv/re", {"dirnames"}),
    ("mkfs.foldfs -L ", set()),
    ("mkfs.foldfs --label=", set()),
    ("fsck.foldfs -C ", set()),
    ("fsck.foldfs -n ", {"dirnames"}),
    ("mount.foldfs /srv/pool ", {"dirnames"}),
    ("mount.foldfs -t ", set()),
    ("umount.foldfs -l /m", {"dirnames"}),
    ("foldfs df /mnt/a:", {"default"}),
    ("foldfs tier move ", set()),
    ("foldfs tier move cold ", {"default"}),
    ("foldfs tier pin ", {"default"}),
    ("foldfs replica sync ", {"default"}),
])
def test_what_only_the_user_knows(line, fallback):
    assert complete(line) == (set(), fallback)


def test_a_program_by_its_path():
    line = f"{env.binary('mkfs.foldfs')} --fo"
    done = env.run("bash", "--norc", "-uc", CALL.replace('complete -p "$1"', "complete -p mkfs.foldfs"), "bash",
                   FOLDER / "foldfs.bash", line, *words_of(line))
    assert done.stdout == "reply --follow\n" and done.stderr == ""


# ---- at a terminal


class Terminal:
    """A shell that somebody types into."""

    def __init__(self, argv, **environ):
        environ = environment() | environ
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], [str(arg) for arg in argv], environ)
        self.shown = b""

    def read_until(self, mark):
        """MARK None: to the end of the shell."""
        while mark is None or mark not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], 60 * env.SLOW)
            assert ready, f"nothing more is shown after {self.shown}"
            try:
                self.shown += os.read(self.fd, 4096)
            except OSError:  # how the end of a terminal is told
                assert mark is None, f"the shell has ended after {self.shown}"
                return

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def start_bash(home):
    (home / "rc").write_text(f"PS1='ready> '\nHISTFILE=\nsource '{FOLDER}/foldfs.bash'\n")
    return Terminal(["bash", "--noprofile", "--rcfile", home / "rc", "-i"])


def start_zsh(home, more=""):
    """Without what /etc has for all users."""
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    (home / ".zshrc").write_text(
        f"PS1='ready> '\nbindkey -e\nfpath=('{FOLDER}' $fpath)\n"
        f"autoload -Uz compinit && compinit -u -D\n{more}")
    return Terminal(["zsh", "-d", "-i"], ZDOTDIR=str(home))


def press_tab(terminal, line, path):
    """The words of LINE after the Tab key. They are printed, instead of what they would do."""
    try:
        terminal.read_until(b"ready> ")
        terminal.type(f"{line}\t >'{path}'; exit\x01printf '%s\\n' \r")
        terminal.read_until(None)
    finally:
        terminal.close()
    return path.read_text().splitlines()


@pytest.mark.parametrize("start", [start_bash, start_zsh])
def test_the_tab_key(start, home):
    for number, (line, words) in enumerate([
            ("foldfs repl", ["replica"]),
            ("foldfs tier un", ["tier", "unpin"]),
            ("foldfs du --med", ["du", "--media"]),
            ("mkfs.foldfs --fol", ["--follow"]),
            ("mkfs.foldfs -o mode=na", ["-o", "mode=native"]),
            ("mount.foldfs -o ro,profile=inter", ["-o", "ro,profile=interactive"]),
            ("mount.foldfs -o zstd_level=3,cache_s", ["-o", "zstd_level=3,cache_size="])]):
        assert press_tab(start(home), line, home / f"words{number}")[1:] == words


def offered_by_zsh(line, home):
    """All that may be completed, noted where completion functions hand it over."""
    note = f"""
setopt noautolist noautomenu
compadd() {{
  local -a found
  if ! (( ${{@[(I)-[OAD]]}} )); then
    builtin compadd -A found "$@"
    print -rl -- $found >>{home}/found
  fi
  builtin compadd "$@"
}}
"""
    (home / "found").write_text("")
    press_tab(start_zsh(home, note), line, home / "words")
    return set((home / "found").read_text().split())


def test_zsh_offers_the_same(home):
    for line in ("foldfs ", "foldfs scrub st", "foldfs tier ", "foldfs sync --", "mkfs.foldfs -",
                 "umount.foldfs --", "mkfs.foldfs -o ", "mount.foldfs -o ro,zstd_level=3,",
                 "mount.foldfs -o profile="):
        found = {word.rstrip("=") for word in offered_by_zsh(line, home)}
        wanted = {re.sub(r".*,|=$", "", word) for word in offered(line)} - set(re.findall(r"ro|zstd_level", line))
        assert found == wanted and found, line


def test_the_tab_key_within_quotes(home):
    """zsh leaves them open."""
    words = press_tab(start_bash(home), "mkfs.foldfs -o 'mode=na", home / "words")
    assert words == ["mkfs.foldfs", "-o", "mode=native"]
