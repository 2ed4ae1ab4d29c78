#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""crash.py record HOME …: records a workload. crash.py try HOME …: checks the states it could leave.

    tests/crash/crash.py record /tmp/rec --fs ext4 --actors renamestorm,writers --steps 20 --seed 3
    tests/crash/crash.py try /tmp/rec --states 500
    tests/crash/crash.py try /tmp/rec --only 1234:torn:99

FOLDFS_BUILD names the build folder.
"""

import argparse
import pickle
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import disks  # noqa: E402
import power  # noqa: E402
from actors import GENERAL  # noqa: E402


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    rec = commands.add_parser("record")
    rec.add_argument("home", type=Path)
    rec.add_argument("--fs", default="ext4", choices=disks.MKFS)
    rec.add_argument("--actors", default=",".join(GENERAL))
    rec.add_argument("--steps", type=int, default=12)
    rec.add_argument("--rounds", type=int, default=2)
    rec.add_argument("--seed", type=int, default=1)
    rec.add_argument("--pause", type=float, default=0)
    rec.add_argument("--fault", default="", help="FOLDFS_FAULT of the recorded daemon")
    rec.add_argument("--options", default=power.MOUNT_OPTIONS)
    trial = commands.add_parser("try")
    trial.add_argument("home", type=Path)
    trial.add_argument("--states", type=int)
    trial.add_argument("--seed", type=int, default=1)
    trial.add_argument("--only", help="NUMBER:MODE:SEED")
    trial.add_argument("--stop-after", type=int, default=0)
    trial.add_argument("--parallel", type=int, default=2)
    return parser.parse_args(argv)


def do_record(args):
    args.home.mkdir(parents=True)
    image = disks.make_image(args.home / "image", args.fs, args.home / "backing")
    workload = power.Workload(tuple(args.actors.split(",")), args.steps, args.rounds, args.seed,
                              args.options, args.pause,
                              {"FOLDFS_FAULT": args.fault} if args.fault else {})
    power.record(image, args.home, workload)


def do_try(args):
    with open(args.home / "recording.pickle", "rb") as file:
        recording = pickle.load(file)
    plan = power.plan(recording, args.states, args.seed)
    if args.only:
        number, mode, seed = args.only.split(":")
        plan.states = [power.State(int(number), mode, int(seed))]

    def progress(outcome, answer):
        state, text = answer
        if text:
            print(f"{state.number}:{state.mode}:{state.seed} {text}", flush=True)
        elif sys.stderr.isatty():
            print(f"\r{outcome.tried}", end="", file=sys.stderr)

    outcome = power.run_states(recording, plan.states, args.home, args.parallel, args.stop_after,
                               progress)
    print(f"{outcome.tried - len(outcome.failures)} of {outcome.tried} states survived; there are "
          f"{plan.there}, with {plan.flushes} flushes")
    for text, count in outcome.kinds().most_common():
        print(f"  {count} x {text}")
    return 1 if outcome.failures else 0


def main():
    args = parse(sys.argv[1:])
    sys.exit(do_record(args) if args.command == "record" else do_try(args))


main()
