"""``genvar export``: its options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.embed import Run
from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug, Home


def export(
    run: Run = None,
    out: Annotated[Path, typer.Option(help="ONNX file to write.")] = Path("encoder.onnx"),
    pictures: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
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
