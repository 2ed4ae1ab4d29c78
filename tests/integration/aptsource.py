# SPDX-License-Identifier: MIT
"""Real source trees to work with, brought by apt from the machine's own mirror.

apt gets a state of its own below the place where the trees are kept, so the system's package lists
stay as they are. What was fetched once is used again.
"""

import fcntl
import os
import re
import tarfile
from pathlib import Path

import env

PLACE = Path(os.environ.get("FOLDFS_TEST_SOURCES", env.SOURCE / "build" / "test-sources"))


def source_lines():
    """deb-src lines for what the machine's own sources list says."""
    lines = []
    for path in sorted(Path("/etc/apt").glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([\w-]+):[ \t]*(.+)$", stanza, re.M))
            if "deb" not in fields.get("Types", "").split():
                continue
            signed = f"[signed-by={fields['Signed-By']}] " if "Signed-By" in fields else ""
            for uri in fields["URIs"].split():
                for suite in fields["Suites"].split():
                    lines.append(f"deb-src {signed}{uri} {suite} {fields['Components']}")
    for path in [Path("/etc/apt/sources.list"), *Path("/etc/apt").glob("sources.list.d/*.list")]:
        if path.exists():
            lines += ["deb-src" + line[3:] for line in path.read_text().splitlines()
                      if re.match(r"deb\s", line)]
    return lines


def fetch(package):
    """Path of the unpacked upstream tree of a Debian source package."""
    PLACE.mkdir(parents=True, exist_ok=True)
    with open(PLACE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree = PLACE / package
        if not tree.exists():
            unpack(download(package), tree)
        return tree


def download(package):
    env.need_tool("apt-get")
    lines = source_lines()
    if not lines:
        env.lacking("apt knows no mirror to fetch a source package from")
    state, files = PLACE / "apt", PLACE / "files" / package
    for path in (state / "lists" / "partial", state / "cache" / "archives" / "partial", files):
        path.mkdir(parents=True, exist_ok=True)
    (state / "sources.list").write_text("\n".join(lines) + "\n")
    options = ["-q", "-o", f"Dir::State::Lists={state / 'lists'}", "-o",
               f"Dir::Cache={state / 'cache'}", "-o", f"Dir::Etc::SourceList={state}/sources.list",
               "-o", "Dir::Etc::SourceParts=/dev/null", "-o", "APT::Sandbox::User=root"]
    for command in (["update"], ["source", "--download-only", package]):
        done = env.run("apt-get", *options, *command, code=None, cwd=files, timeout=600)
        if done.returncode:
            env.lacking(f"apt-get {command[0]} cannot bring the source of {package}: {done.stderr}")
    return files


def unpack(files, tree):
    archives = [path for path in files.iterdir() if ".orig.tar." in path.name
                and not path.name.endswith(".asc")]
    if not archives:
        archives = [path for path in files.iterdir() if ".tar." in path.name]
    temporary = tree.with_name(tree.name + ".tmp")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(temporary)
    inner = list(temporary.iterdir())
    if len(inner) == 1 and inner[0].is_dir():
        inner[0].rename(tree)
        temporary.rmdir()
    else:
        temporary.rename(tree)
