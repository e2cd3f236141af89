"""Does generated variance help? The same experiment with the views exchanged, over several seeds.

    .venv/bin/python benchmarks/ablation.py --seeds 0,1,2
    .venv/bin/python benchmarks/ablation.py --dataset folder --data-root DIR --config real.yaml --heading "Real people"

Every variant updates the identity encoder equally often: joint training runs the same number of batches, and only what
they are contrasted with differs. Stages that two runs have in common (data, mesh, warm-ups, first clusters) are found
by their fingerprints and run once; a run that was interrupted continues when the command is given again. What comes out
is a table of mean and standard deviation over the seeds, with the differences from the first variant; it replaces the
one under its heading in ``--write FILE``.
"""

import argparse
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from pipeline.command import Options, run_command
from pipeline.commands.guarded import guarded

# Views and mixes of joint training. The first six are the published comparison: classical augmentation or generated
# variance. The last three tell what generation adds to classical augmentation, beside the best that needs no generator.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "classical": ("joint.views=classical", "joint.mixing=none"),
    "rotation": ("joint.views=generated", "joint.rotation=true", "joint.mixing=none"),
    "dmixup": ("joint.views=generated", "joint.rotation=false", "joint.mixing=dmixup"),
    "both": ("joint.views=generated", "joint.rotation=true", "joint.mixing=dmixup"),
    "fmixup": ("joint.views=generated", "joint.rotation=true", "joint.mixing=fmixup"),
    "image": ("joint.views=generated", "joint.rotation=true", "joint.mixing=image"),
    "classical-image": ("joint.views=classical", "joint.mixing=image"),
    "classical-rotation": ("joint.views=both", "joint.rotation=true", "joint.mixing=none"),
    "classical-both": ("joint.views=both", "joint.rotation=true", "joint.mixing=dmixup"),
}
TITLES = {
    "classical": "classical augmentation only",
    "rotation": "rotation only",
    "dmixup": "D-mixup only",
    "both": "rotation and D-mixup",
    "fmixup": "rotation and F-mixup",
    "image": "rotation and image mixup",
    "classical-image": "classical augmentation and image mixup",
    "classical-rotation": "classical augmentation and rotation",
    "classical-both": "classical augmentation, rotation and D-mixup",
}
Results = dict[str, dict[int, dict[str, float]]]


def main() -> None:
    """Run every variant with every seed and print the table after each."""
    arguments = parse()
    console = Console(soft_wrap=True)
    results: Results = {}
    with guarded(debug=arguments.debug):
        for seed in arguments.seeds:  # a seed's warm-ups serve all of its variants
            for variant in arguments.variants:
                results.setdefault(variant, {})[seed] = run_variant(arguments, variant, seed)
                console.print(table(results), markup=False)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1))
    if arguments.write is not None:
        text = arguments.write.read_text() if arguments.write.is_file() else ""
        arguments.write.write_text(with_section(text, arguments.heading, table(results)))


def run_variant(arguments: argparse.Namespace, variant: str, seed: int) -> dict[str, float]:
    """Run one pipeline up to its evaluation, or find it done; return measures such as ``mAP/joint``, in percent."""
    options = Options(
        overrides=tuple(overrides(variant, arguments.updates, arguments.set)),
        dataset=arguments.dataset,
        data_root=arguments.data_root,
        preset=arguments.preset,
        config_file=arguments.config,
        seeds=(seed,),
        executor=arguments.executor,
        num_cpus=arguments.num_cpus,
        last="evaluate",
        home=arguments.home,
    )
    return run_command(options, Console(quiet=True))[seed].numbers()


def overrides(variant: str, updates: int, extra: Sequence[str]) -> list[str]:
    """Return the settings of one variant; what the user gives comes last and wins."""
    return [*VARIANTS[variant], f"joint.iterations_per_epoch={updates}", *extra]


def table(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Write the table of the results so far: variant to seed to measures, in percent.

    The first row is the common start, the second the first variant with its mAP of every seed; the others follow with
    their differences from it, seed by seed. Mean and sample deviation are over the seeds.
    """
    seeds = sorted({seed for by_seed in results.values() for seed in by_seed})
    first, reference = next(iter(results.items()))
    cells = [_spread(reference, "mAP/identity"), _spread(reference, "rank1/identity"), *[""] * len(seeds), ""]
    rows = [["variant", "mAP", "rank-1", *(f"seed {seed}" for seed in seeds), "mean"], ["identity warm-up", *cells]]
    for variant, by_seed in results.items():
        values = {seed: measures["mAP/joint"] for seed, measures in by_seed.items()}
        if variant == first:
            compared = [f"{values[seed]:.1f}" if seed in values else "" for seed in seeds] + [""]
        else:
            gains = {seed: value - reference[seed]["mAP/joint"] for seed, value in values.items() if seed in reference}
            compared = [f"{gains[seed]:+.1f}" if seed in gains else "" for seed in seeds]
            compared.append(f"{statistics.mean(gains.values()):+.1f}" if gains else "")
        rows.append([TITLES[variant], _spread(by_seed, "mAP/joint"), _spread(by_seed, "rank1/joint"), *compared])
    rows.insert(1, ["---"] * len(rows[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_section(text: str, heading: str, content: str) -> str:
    """Replace the first table under a level-two heading of a Markdown text, or add the heading and the table."""
    sections = re.split(r"(?m)^(?=## )", text)
    for index, section in enumerate(sections):
        if section.splitlines()[:1] != [f"## {heading}"]:
            continue
        rows = re.search(r"(?m)(?:^\|.*\n)+", section)
        if rows is None:
            sections[index] = f"{section.rstrip()}\n\n{content}\n"
        else:
            sections[index] = section[: rows.start()] + content + section[rows.end() :]
        return "".join(sections)
    return f"{text.rstrip()}\n\n## {heading}\n\n{content}".lstrip()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=_variants, default=list(VARIANTS), help=f"of {','.join(VARIANTS)}")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=50, help="updates of the identity encoder in an epoch")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every variant")
    parser.add_argument("--dataset")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--preset")
    parser.add_argument("--config", type=Path, help="configuration file")
    parser.add_argument("--executor", default="local")
    parser.add_argument("--num-cpus", type=int)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--write", type=Path, metavar="FILE", help="Markdown file that takes the table")
    parser.add_argument("--heading", default="Rendered people", help="part of the file that the table belongs to")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all measures of all runs")
    parser.add_argument("--debug", action="store_true")
    return parser.parse_args()


def _variants(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(VARIANTS):
        raise argparse.ArgumentTypeError(f"{sorted(unknown)} is not among {', '.join(VARIANTS)}")
    return names


def _spread(by_seed: Mapping[int, Mapping[str, float]], measure: str) -> str:
    values = [measures[measure] for measures in by_seed.values()]
    mean = statistics.mean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


if __name__ == "__main__":
    main()
