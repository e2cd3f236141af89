"""How true generated rotations are: against renderings of the same moment, or photographs of the same person.

Run: OMP_NUM_THREADS=1 python -m benchmarks.generator_quality rendered RUN... [--home DIR]
     OMP_NUM_THREADS=1 python -m benchmarks.generator_quality oriented RUN... [--home DIR]

RUN is a finished pipeline: its title, its id or the beginning of one; several (seeds) are averaged. ``rendered`` wants
a run on rendered people, ``oriented`` one whose pictures are named PPPP_cCs1_00000O_NN.jpg: O from 1 to 8 is the side
that is seen, in steps of 45 degrees, every person photographed from every side by every camera. Identities, sides and
true renderings are used here and nowhere else. Tables are markdown; ``--picture FILE`` draws generated above true
people.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.generated_against_photographs import oriented
from benchmarks.generated_against_rendered import rendered
from infra.home import Home, find_home
from infra.tracking.address import tracking_uri
from infra.tracking.pipelines import choose_pipelines, list_pipelines
from infra.tracking.store import RunStore
from reid_core.errors import UserError


def stage_folders(home: Home, run: str) -> dict[str, Path]:
    uri = tracking_uri(home)
    store = RunStore(home, uri, "")
    if not home.database.is_file() and uri.startswith("sqlite"):
        raise UserError(f"there are no runs in {home.root}; name --home or train with genvar pipeline")
    [pipeline] = choose_pipelines(list_pipelines(uri), [run])
    folders = {name: store.artifacts_dir(stage) for name, stage in pipeline.stages.items()}
    if missing := {"data", "mesh", "identity", "generator", "joint"} - folders.keys():
        raise UserError(f"{pipeline.title} has no finished {', '.join(sorted(missing))} stage; finish it first")
    return folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("rendered", "oriented"))
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--home", type=Path, help="where the runs are kept; else GENVAR_HOME")
    parser.add_argument("--num-images", type=int, default=100, help="rendered: photographs of each split")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    try:
        folders = [stage_folders(find_home(chosen.home), run) for run in chosen.runs]
        if chosen.mode == "rendered":
            rendered(folders, num_images=chosen.num_images, picture=chosen.picture)
        else:
            oriented(folders, picture=chosen.picture)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
