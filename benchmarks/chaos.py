"""Kill training at random moments: does it always end, and with the weights of an uninterrupted one?

    .venv/bin/python benchmarks/chaos.py --kills 20

Generator warm-up and joint training of a few rendered people, in deterministic mode, half of the kills in each. A
victim is drawn again and again: a rank of the training, or the whole command (driver). It is killed by ``kill -9`` a
random time after the ranks have begun; the command is given again whenever it died, as a person would. At the end the
weights are compared byte by byte with those of a run that nobody disturbed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"synthetic": {"num_train_people": 4, "num_test_people": 2, "images_per_person": 6, "num_cameras": 2}},
    "identity": {"num_epochs": 1, "iterations_per_epoch": 2},
    "generator": {"num_epochs": 30, "batch_size": 8, "checkpoints": {"every": 1}},
    "joint": {"num_epochs": 30, "batch_size": 8, "checkpoints": {"every": 1}},
}
STAGES = ("generator", "joint")
WEIGHTS = ("identity.safetensors", "generator.safetensors", "discriminator.safetensors")


def main() -> None:
    """Run undisturbed, run disturbed, compare, and print a summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=30, help="of both stages")
    parser.add_argument("--longest", type=float, default=10.0, help="seconds that ranks at work are left alone at most")
    parser.add_argument("--executor", default="local")
    parser.add_argument("--seed", type=int, default=0, help="of the victims and moments")
    parser.add_argument("--work", type=Path, required=True, help="folder for both runs, about 100 MB")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    config = arguments.work / "settings.json"
    ranked = {stage: {"num_epochs": arguments.epochs, "num_ranks": arguments.ranks} for stage in STAGES}
    config.write_text(json.dumps({name: {**values, **ranked.get(name, {})} for name, values in SETTINGS.items()}))

    # The quiet run first: its warm-ups are the disturbed one's too, by their fingerprints.
    quiet, loud = arguments.work / "quiet", arguments.work / "loud"
    for home in (quiet, loud):
        _run(_command(config, home, arguments.executor, "identity"))
    _run(_command(config, quiet, arguments.executor, "joint"))
    summary = disturb(
        _command(config, loud, arguments.executor, "joint"),
        kills=arguments.kills,
        longest=arguments.longest,
        home=loud,
        draws=random.Random(arguments.seed),
    )
    same = {name: _weights(quiet, name) == _weights(loud, name) for name in (*STAGES,)}
    print(json.dumps({**summary, "weights_equal": same}, indent=1))
    if not all(same.values()):
        raise SystemExit("the weights of the disturbed run are others")


def disturb(command: list[str], *, kills: int, longest: float, home: Path, draws: random.Random) -> dict[str, object]:
    """Give a command until it ends by itself, and kill it or one of its training processes at random moments.

    Args:
        command: Program and arguments.
        kills: Number of kills.
        longest: Seconds to the next kill at most.
        home: Home that the command works in.
        draws: Source of randomness.

    Returns:
        Kills by victim and by stage, how often the command was given, and the seconds it all took.
    """
    killed = {"driver": 0, "rank": 0}
    during = dict.fromkeys(STAGES, 0)
    given, start = 0, time.monotonic()
    process: subprocess.Popen[bytes] | None = None
    while sum(killed.values()) < kills:
        if process is None or process.poll() is not None:
            if process is not None and process.returncode == 0:
                break  # it ended before all kills were spent: more epochs are needed
            process, given = _start(command), given + 1
        # The first stage gets half of the kills, or as many as it lives to see.
        if not _ranks(process) or (_at_work(home) == STAGES[0] and during[STAGES[0]] >= kills // 2):
            time.sleep(0.1)
            continue
        time.sleep(draws.uniform(0.0, longest))
        ranks, stage = _ranks(process), _at_work(home)
        if process.poll() is not None or stage not in STAGES:
            continue
        if ranks and draws.random() < 0.5:
            os.kill(draws.choice(ranks), signal.SIGKILL)
            victim = "rank"
            time.sleep(1.0)  # so that the dead one is not counted among the ranks again
        else:
            process.kill()
            process.wait()
            victim = "driver"
        killed[victim] += 1
        during[stage] += 1
        print(f"killed a {victim}, {stage}", file=sys.stderr, flush=True)
    while process is None or process.wait() != 0:
        if given > kills + 20:
            raise SystemExit("the command does not end by itself")
        process, given = _start(command), given + 1
    return {
        "killed": killed,
        "during": during,
        "commands_given": given,
        "seconds": round(time.monotonic() - start),
    }


def _command(config: Path, home: Path, executor: str, last: str) -> list[str]:
    options = ["--config", str(config), "--home", str(home), "--executor", executor, "--until", last, "--deterministic"]
    return [sys.executable, "-m", "pipeline.cli", "pipeline", *options]


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _ranks(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes below the command that have been at work for a while: ranks of a training, mostly."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child.pid for child in children if child.cpu_times().user > 2.0]
    except psutil.Error:
        return []


def _at_work(home: Path) -> str:
    """Return the last stage that was begun and is not stored yet; ``before`` where there is none."""
    begun = [stage for stage in STAGES if any((home / "work").glob(f"{stage}-*"))]
    return begun[-1] if begun else "before"


def _weights(home: Path, stage: str) -> list[bytes]:
    """Return the content of the weights that a stage wrote, found by what lies beside them."""
    weights: list[bytes] = []
    for summary in sorted((home / "artifacts").rglob("summary.json")):
        folder = summary.parent
        is_joint = (folder / "pseudo_labels").is_dir() and (folder / "discriminator.safetensors").is_file()
        is_generator = not is_joint and (folder / "discriminator.safetensors").is_file()
        if (stage == "joint" and is_joint) or (stage == "generator" and is_generator):
            weights += [(folder / name).read_bytes() for name in WEIGHTS if (folder / name).is_file()]
    assert weights, f"no weights of {stage} in {home}"
    return weights


if __name__ == "__main__":
    main()
