"""Commands that use a trained encoder: ``embed``, ``search``, ``export``."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug, Executor, Home, NumCpus

Run = Annotated[
    str | None,
    typer.Option(
        help="Trained encoder: id or name of a run, a run folder, or a .safetensors file.",
        show_default="newest joint training",
    ),
]
Flip = Annotated[bool, typer.Option("--flip", help="Add the features of the mirrored pictures; twice the time.")]
FullPrecision = Annotated[bool, typer.Option("--full-precision", help="32 bits on GPUs too, not 16.")]


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


def search(
    query: Annotated[Path, typer.Argument(help="Whom to find: a picture, a folder, or a Parquet file of features.")],
    gallery: Annotated[Path, typer.Argument(help="Where to look: a folder, or a Parquet file of features.")],
    run: Run = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Pictures of each ranked list.")] = 10,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Similarity of the same person.", show_default="suggested"),
    ] = None,
    num_shown: Annotated[int, typer.Option(min=0, max=200, help="Queries of the picture.")] = 12,
    out: Annotated[Path, typer.Option(help="Folder for hits.parquet and hits.png.")] = Path("search"),
    flip: Flip = False,
    full_precision: FullPrecision = False,
    executor: Executor = "local",
    num_cpus: NumCpus = None,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Rank the pictures of a gallery by how much they look like each query: a table, a Parquet file and a picture."""
    with guarded(debug=debug):
        from rich.console import Console

        from infra.home import find_home
        from pipeline.command import Options, open_compute
        from pipeline.retrieve import Search, run_search
        from pipeline.trained_encoder import find_encoder

        settings = Search(query, gallery, top, threshold, num_shown, flip=flip, mixed_precision=not full_precision)
        with open_compute(Options(executor=executor, num_cpus=num_cpus)) as compute:
            run_search(settings, run, lambda name: find_encoder(name, find_home(home)), compute, out, Console())


def export(
    run: Run = None,
    out: Annotated[Path, typer.Option(help="ONNX file to write.")] = Path("encoder.onnx"),
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder of real pictures to check the file on, too.", show_default=False),
    ] = None,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Write a trained encoder as ONNX, with its preprocessing, and check that it computes what torch computes."""
    with guarded(debug=debug):
        from infra.home import find_home
        from pipeline.embed_pictures import check_output
        from pipeline.export_encoder import export_encoder
        from pipeline.trained_encoder import find_encoder

        check_output(out, ".onnx")
        encoder = find_encoder(run, find_home(home))
        difference = export_encoder(encoder, out, pictures)
        height, width = encoder.image_size
        typer.echo(f"Encoder    {encoder.title}")
        typer.echo(
            f"ONNX       {out}, RGB of {height} x {width} pixels, differs from torch by at most {difference:.1e}"
        )
