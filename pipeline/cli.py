"""The command line. Only light imports here: help must not wait for torch."""

import errno
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn, Optional

import typer

from infra.messages import TerminalHandler, send_to
from reid_core.errors import UserError

_EXIT_USER_ERROR = 2
_EXIT_INTERRUPTED = 130
_EXIT_TERMINATED = 143

_HELP = """Unsupervised person re-identification with generated variance.

Images of people without labels go in; an encoder that recognises a person seen by another camera comes out, with a
report of how well it does. Everything runs on rendered people too, so that the first try needs no data:

\b
    genvar pipeline                                    rendered people, two CPU cores, about ten minutes
    genvar pipeline --dataset folder --data-root DIR   your own images
    genvar pipeline --dataset msmt17 --data-root DIR   a benchmark, with the published settings
    genvar ui                                          compare runs in the browser
"""

_PIPELINE_HELP = """Run the pipeline: data, mesh, identity, generator, cluster, joint, evaluate, report.

A stage whose configuration, inputs and code version have been run before is reused. A command that was interrupted or
killed continues where it stood when it is given again. Settings come from the preset, then the configuration file,
then the command line; the last one wins.

\b
    genvar pipeline joint.num_epochs=3 joint.contrast.temperature=0.05
    genvar pipeline --until identity --dry-run         what would run, and every setting with its value
    genvar pipeline --seeds 0,1,2                      mean and deviation over three trainings on the same data
    genvar pipeline --config experiment.yaml           sections named like the stages, plus preset, dataset, seed

Where results go: --home, else GENVAR_HOME, else the folder runs of a source checkout. MLFLOW_TRACKING_URI and
RAY_ADDRESS use a server and a cluster of your own.
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  rich_markup_mode=None)  # fmt: skip

_Home = Annotated[Optional[Path], typer.Option("--home", help="Folder that keeps the runs.", show_default=False)]  # noqa: UP045
_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and more of what happens.")]


@app.command(help=_PIPELINE_HELP)
def pipeline(
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings under dotted names.", show_default=False),
    ] = None,
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="synthetic, market1501, dukemtmc-reid, msmt17, personx or folder.", show_default="synthetic"),
    ] = None,
    data_root: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder that holds the data set.", envvar="DATA_ROOT", show_default=False),
    ] = None,
    preset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="tiny (two CPU cores), small (one GPU) or paper (as published).",
            show_default="tiny for synthetic and folder, else paper",
        ),
    ] = None,
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Configuration file: YAML, JSON or TOML.", show_default=False),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Seed of every training stage (not of the rendered people).", show_default=False),
    ] = None,
    seeds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Several seeds, such as 0,1,2: one pipeline each.", show_default=False),
    ] = None,
    executor: Annotated[str, typer.Option(help="ray, or local (processes of this machine, for a debugger).")] = "ray",
    num_cpus: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="CPUs to use on this machine.", show_default="all"),
    ] = None,
    deterministic: Annotated[bool, typer.Option(help="Bit-identical results, also on a GPU; slower there.")] = False,
    first: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--from", metavar="STAGE", help="Run this stage and all later ones again.", show_default=False),
    ] = None,
    last: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--until", metavar="STAGE", help="Stop after this stage.", show_default=False),
    ] = None,
    force: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="STAGE", help="Run this stage and those that read it again.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, write nothing.")] = False,
    home: _Home = None,
    debug: _Debug = False,
) -> None:
    """Read the options; see ``pipeline.command``."""
    with _guarded(debug=debug):
        chosen_seeds = _seeds(seed, seeds)
        from rich.console import Console

        from pipeline.command import Options, run_command

        options = Options(
            overrides=tuple(overrides or ()),
            dataset=dataset,
            data_root=data_root,
            preset=preset,
            config_file=config,
            seeds=chosen_seeds,
            executor=executor,
            num_cpus=num_cpus,
            deterministic=deterministic,
            first=first,
            last=last,
            force=tuple(force or ()),
            dry_run=dry_run,
            home=home,
        )
        run_command(options, Console(soft_wrap=True))


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of http://127.0.0.1.")] = 5000,
    home: _Home = None,
    debug: _Debug = False,
) -> None:
    """Serve the MLflow page that compares runs, for this machine only; Ctrl-C ends it."""
    with _guarded(debug=debug):
        from infra.home import find_home
        from pipeline.ui import serve

        serve(find_home(home), port)


def main() -> None:
    """Entry point of ``genvar``."""
    # OpenMP threads that wait spin for milliseconds by default: beside another busy program, training then loses most
    # of its speed. Read when a process loads torch, so it is set before; worker processes inherit it.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    app()


def _seeds(seed: int | None, seeds: str | None) -> tuple[int, ...]:
    if seed is not None and seeds is not None:
        raise UserError("give --seed or --seeds, not both")
    if seeds is None:
        return () if seed is None else (seed,)
    try:
        found = tuple(int(part) for part in seeds.replace(",", " ").split())
    except ValueError as error:
        raise UserError(f'--seeds wants whole numbers such as 0,1,2, but got "{seeds}"') from error
    if not found or len(set(found)) < len(found):
        raise UserError(f'--seeds wants different whole numbers such as 0,1,2, but got "{seeds}"')
    return found


@contextmanager
def _guarded(*, debug: bool) -> Iterator[None]:
    """Turn errors into a sentence and an exit code, and set up what is logged to the terminal."""
    _log_to_terminal(debug=debug)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    except UserError as error:
        _fail(str(error), _EXIT_USER_ERROR, error, debug=debug)
    except KeyboardInterrupt as error:
        message = "interrupted; the same command continues where this one stopped"
        _fail(message, _EXIT_INTERRUPTED, error, debug=False)
    except Exception as error:
        if not _is_full_disk(error):
            raise
        name = getattr(error, "filename", None)
        where = f" while writing {name}" if name else ""
        message = f"no space is left on the disk{where}; free some, and give the same command again to continue"
        _fail(message, _EXIT_USER_ERROR, error, debug=debug)


def _is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, says that a disk is full; other processes say it in words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in ("No space left on device", "database or disk is full")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(_EXIT_TERMINATED)


def _fail(message: str, code: int, error: BaseException, *, debug: bool) -> NoReturn:
    if debug:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"genvar: {message}", err=True)
    raise typer.Exit(code)


def _log_to_terminal(*, debug: bool) -> None:
    handler = TerminalHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    send_to(handler, logging.DEBUG if debug else logging.INFO)


if __name__ == "__main__":
    main()
