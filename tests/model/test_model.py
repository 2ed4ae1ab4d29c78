# SPDX-License-Identifier: MIT
"""The model test: random calls against a mount and against a plain directory, no difference.

FOLDFS_MODEL_SEED repeats a run; FOLDFS_MODEL_STEPS makes it longer.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

import env
import pools

MODEL = "tests/model/model"
STEPS = int(os.environ.get("FOLDFS_MODEL_STEPS", 4000))
SEED = os.environ.get("FOLDFS_MODEL_SEED")


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="foldfs-model-", ignore_cleanup_errors=True) as path:
        os.chmod(path, 0o755)
        yield Path(path)


def run_model(target, reference, *options, breakage=None, code=0, timeout=1800):
    """The model's output; fails with all of it unless it ends with CODE."""
    environ = {k: v for k, v in os.environ.items() if k != "MODEL_BREAK"}
    if breakage:
        environ["MODEL_BREAK"] = breakage
    for path in (target, reference):
        path.mkdir(exist_ok=True)
    done = subprocess.run([env.binary(MODEL), *map(str, options), target, reference],
                          env=environ, capture_output=True, text=True, errors="replace",
                          timeout=timeout * env.SLOW)
    text = done.stdout + done.stderr
    assert done.returncode == code, f"status {done.returncode}, not {code}:\n{text[-8000:]}"
    return text


# ---- the model itself


@pytest.mark.parametrize("procs", [1, 3])
def test_two_plain_directories_do_not_differ(place, procs):
    text = run_model(place / "a", place / "b", "--seed", SEED or 7, "--steps", 6000, "--phases", 2,
                     "--procs", procs)
    assert "no difference" in text and f"{2 * procs * 6000} calls" in text


def breakages():
    program = env.BUILD / MODEL
    if not program.exists():
        return ["pwrite"]
    return subprocess.run([program, "--breakages"], capture_output=True,
                          text=True).stdout.split()


@pytest.mark.parametrize("breakage", breakages())
def test_the_model_notices(place, breakage):
    """A target made wrong on purpose is found out, and the report says how to see it again."""
    text = run_model(place / "a", place / "b", "--seed", 3, "--steps", 20000, "--phases", 2,
                     "--procs", 1, breakage=breakage, code=1)
    assert "seed=3" in text and "DIFFER" in text


def test_the_same_seed_makes_the_same_calls(place):
    traces = [run_model(place / f"a{n}", place / f"b{n}", "--seed", 5, "--steps", 500, "--phases", 1,
                        "--procs", 1, "--trace") for n in range(2)]
    calls = [[line.rsplit(" = ", 1)[0] for line in text.splitlines() if line.startswith("worker")]
             for text in traces]     # without results: where holes lie is up to the filesystem
    assert calls[0] == calls[1] and len(calls[0]) > 300


# ---- foldfs

MODES = ["auto", *env.MODES]


def seeds(*usual):
    return [int(SEED)] if SEED else list(usual)


def when_slow(first, *values):
    """A run that the quick check of a slow build (sanitizers) makes only if it is FIRST."""
    return pytest.param(*values, marks=[] if first or env.SLOW <= 1 else [pytest.mark.full])


def pairs(*usual):
    """Each mode with each seed; on a slow build each mode with a seed of its own."""
    given = seeds(*usual)
    return [when_slow(turn == place % len(given), mode, seed)
            for place, mode in enumerate(MODES) for turn, seed in enumerate(given)]


def drive(place, seed, *more, steps=STEPS, phases=3, procs=2, mkfs=None, **options):
    """A run with remounts against a mount with OPTIONS; the pool is checked afterwards."""
    if env.REFERENCE:
        env.lacking("this is about a mount")
    env.need_fuse()
    mount = pools.Mount(pools.Pool(place, **(mkfs or {})), **options).start()
    helper = ["--remount", remount_command(mount)]
    if options.get("mode") == "mediated":
        helper.append("--loose-times")
    try:
        run_model(mount.dir / "model", place / "reference", "--seed", seed, "--steps", steps,
                  "--phases", phases, "--procs", procs, *helper, *more)
    except AssertionError as failure:
        if not os.path.ismount(mount.dir) or not pools.alive(mount.pool.owner() or 0):
            raise AssertionError(f"{failure}\n{mount.evidence()}") from None
        raise
    finally:
        mount.pid = mount.pool.owner()
        mount.stop()
    mount.pool.fsck()


def remount_command(mount):
    options = pools.options_text({"log": mount.log, **mount.options})
    return (f"{env.binary('umount.foldfs')} {mount.dir} && "
            f"{env.binary('mount.foldfs')} {mount.pool.path} {mount.dir} -o {options}")


@pytest.mark.asan
@pytest.mark.parametrize("mode, seed", pairs(1, 2, 3))
def test_foldfs_equals_ext4(place, mode, seed):
    """Destage follows on the heels of every close."""
    drive(place, seed, mode=mode, destage_delay=0.01)


@pytest.mark.parametrize("seed", seeds(4, 5))
@pytest.mark.parametrize("mode", MODES)
def test_without_destage(place, mode, seed):
    drive(place, seed, mode=mode, destage_delay=3600)


@pytest.mark.parametrize("seed", seeds(6))
@pytest.mark.parametrize("mode", MODES)
def test_destaged_between_phases(place, mode, seed):
    drive(place, seed, "--between",
          f"{env.BUILD}/foldfs sync --destage {place}/mnt && {env.BUILD}/foldfs gc {place}/mnt",
          mode=mode, destage_delay=3600, phases=6, steps=STEPS // 2)


@pytest.mark.asan
@pytest.mark.parametrize("seed", seeds(8))
def test_little_staging_small_chunks(place, seed):
    """Bounded staging and small chunks: many segments, many changes of mode."""
    drive(place, seed, mode="auto", destage_delay=0, staging_limit="4M",
          mkfs={"chunk_min": "2K", "chunk_avg": "8K", "chunk_max": "32K"})


@pytest.mark.asan
@pytest.mark.parametrize("seed", [when_slow(turn == 0, seed) for turn, seed in enumerate(seeds(10, 11, 12))])
def test_every_file_hot(place, seed):
    """Whatever is stored and opened to be read gets a copy; the comparison between phases reads all."""
    drive(place, seed, "--between", f"{env.BUILD}/foldfs sync --destage {place}/mnt", mode="auto",
          destage_delay=0.5, materialise_min=1, materialise_after=1, materialise_rate=0, phases=6,
          steps=STEPS // 2, procs=3)


@pytest.mark.parametrize("seed", seeds(9))
def test_four_workers_with_gc_all_the_while(place, seed):
    gc = subprocess.Popen(["bash", "-c", f"while sleep 0.3; do {env.BUILD}/foldfs gc {place}/mnt; "
                           "done"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        drive(place, seed, mode="auto", destage_delay=0.05, procs=4)
    finally:
        gc.kill()
        gc.wait()


@pytest.mark.full
@pytest.mark.parametrize("seed", seeds(*range(100, 110)))
@pytest.mark.parametrize("mode", MODES)
def test_for_long(place, mode, seed):
    drive(place, seed, mode=mode, destage_delay=0.02, steps=20 * STEPS, phases=5, procs=3)
