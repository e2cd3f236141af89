"""The command line: which commands there are. Only light imports: help must not wait for torch."""

import os

import typer

from pipeline.commands.encoder import embed, export, search
from pipeline.commands.experiment import pipeline, reproduce, tune, ui
from pipeline.commands.inspect import compare, data, gc, mesh, show

_HELP = """Unsupervised person re-identification with generated variance.

Images of people without labels go in; an encoder that recognises a person seen by another camera comes out, with a
report of how well it does. Everything runs on rendered people too, so that the first try needs no data:

\b
    genvar pipeline                                    rendered people, two CPU cores, about ten minutes
    genvar pipeline --dataset folder --data-root DIR   your own images
    genvar pipeline --dataset msmt17 --data-root DIR   a benchmark, with the published settings
    genvar tune contrast                               search settings, without labels
    genvar reproduce --dataset msmt17 --data-root DIR  a preset beside the figures that are expected of it
    genvar show                                        pictures of the newest run: lists, maps, people, clusters
    genvar data check msmt17 --data-root DIR           what is there of a data set, and what is missing
    genvar mesh inspect CACHE                          bodies that were placed into images, and how well they fit
    genvar compare                                     finished runs side by side, seeds as mean and deviation
    genvar embed DIR                                   features of your own pictures, with a trained encoder
    genvar search QUERY GALLERY                        who in the gallery looks like the query
    genvar export --out encoder.onnx                   a trained encoder for other programs
    genvar ui                                          compare runs in the browser
    genvar gc --dry-run                                what can be freed on a full disk; without --dry-run it goes
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  rich_markup_mode=None)  # fmt: skip

# In the order of the help.
app.command()(pipeline)
app.command()(tune)
app.command()(reproduce)
app.command()(compare)
app.command()(show)
app.command()(embed)
app.command()(search)
app.command()(export)
app.add_typer(data, name="data")
app.add_typer(mesh, name="mesh")
app.command()(ui)
app.command()(gc)


def main() -> None:
    """Entry point of ``genvar``."""
    # OpenMP threads that wait spin for milliseconds by default: beside another busy program, training then loses most
    # of its speed. Read when a process loads torch, so it is set before; worker processes inherit it.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    app()


if __name__ == "__main__":
    main()
