"""Commands that use a trained encoder: ``embed``, ``search``, ``export``."""

from pathlib import Path
from typing import Annotated, Literal

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
    max_false: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=0.999,
            help="Suggest the lowest threshold from which on at most this share is expected to be strangers.",
            show_default="none: the two groups of the nearest pictures",
        ),
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
        from reid_core.errors import UserError

        if threshold is not None and max_false is not None:
            raise UserError("--threshold and --max-false both decide the threshold; give one of them")
        settings = Search(
            query, gallery, top, threshold, num_shown, max_false, flip=flip, mixed_precision=not full_precision
        )
        with open_compute(Options(executor=executor, num_cpus=num_cpus)) as compute:
            run_search(settings, run, lambda name: find_encoder(name, find_home(home)), compute, out, Console())


def export(
    run: Run = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="ONNX file to write; or a folder, which gets a reid_config.json too.", show_default="by --input"
        ),
    ] = None,
    kind: Annotated[
        Literal["genvar", "imagenet", "unit"],
        typer.Option(
            "--input",
            help="What the file is fed: RGB from 0 to 255 (genvar), normalised by ImageNet (imagenet: BoxMOT, "
            "torchreid), or from 0 to 1 (unit: Ultralytics).",
        ),
    ] = "genvar",
    size: Annotated[
        str | None,
        typer.Option(
            help="Height x width of the input, such as 256x128.",
            show_default="as trained; a file for imagenet 256x128, for unit 224x224",
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder of real pictures to check the file on, too.", show_default=False),
    ] = None,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Write a trained encoder as ONNX, say how to feed it, and check that it computes what torch computes."""
    with guarded(debug=debug):
        from infra.home import find_home
        from pipeline.export_encoder import check_out, export_encoder, fits_boxmot, parse_size, plan_export
        from pipeline.trained_encoder import find_encoder
        from reid_core.models.onnx_export import INPUTS

        check_out(out)
        asked_size = None if size is None else parse_size(size)
        encoder = find_encoder(run, find_home(home))
        plan = plan_export(encoder, out, kind, asked_size)
        difference = export_encoder(plan, pictures)
        height, width = plan.image_size
        typer.echo(f"Encoder    {encoder.title}")
        typer.echo(
            f"ONNX       {plan.path}, RGB of {height} x {width} pixels, differs from torch by at most {difference:.1e}"
        )
        typer.echo(f"Input      before the file: {INPUTS[kind].done_outside}; all of it in {plan.metadata_path.name}")
        if plan.image_size != encoder.image_size:
            trained = "{} x {}".format(*encoder.image_size)
            typer.echo(f"Note       the encoder was trained on {trained} pixels; other sizes cost accuracy")
        if kind == "imagenet" and not plan.in_folder and not fits_boxmot(plan.path.name):
            typer.echo("Note       BoxMOT wants a name with an architecture that it knows: put resnet50 into it")
