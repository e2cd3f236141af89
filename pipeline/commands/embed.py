"""``genvar embed``: its options."""

from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug, Home, NumCpus

Run = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it at run time
    typer.Option(
        help="Trained encoder: id or name of a run, a run folder, or a .safetensors file.",
        show_default="newest joint training",
    ),
]
Flip = Annotated[bool, typer.Option("--flip", help="Add the features of the mirrored pictures; twice the time.")]
FullPrecision = Annotated[bool, typer.Option("--full-precision", help="32 bits on GPUs too, not 16.")]
Executor = Annotated[Literal["local", "ray"], typer.Option(help="Processes of this machine, or Ray.")]


def embed(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, at any depth; or one picture.")],
    run: Run = None,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")] = Path("features.parquet"),
    flip: Flip = False,
    full_precision: FullPrecision = False,
    executor: Executor = "local",
    num_cpus: NumCpus = None,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Turn pictures of people into features with a trained encoder: one row a picture in a Parquet file."""
    with guarded(debug=debug):
        from infra.home import find_home
        from pipeline.command import Options, open_compute
        from pipeline.embed_pictures import check_output, embed_pictures
        from pipeline.trained_encoder import find_encoder
        from reid_core.evaluation.embed import find_pictures, write_features

        check_output(out, ".parquet")
        find_pictures(folder)
        encoder = find_encoder(run, find_home(home))
        with open_compute(Options(executor=executor, num_cpus=num_cpus)) as compute:
            compute.prepare([folder, encoder.weights])
            features = embed_pictures(folder, encoder, compute, flip=flip, mixed_precision=not full_precision)
        write_features(features, out)
        count, size = features.vectors.shape
        typer.echo(f"Encoder    {encoder.title}")
        typer.echo(f"Features   {count} pictures x {size} numbers in {out}")
