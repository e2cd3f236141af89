"""Running a plan: reuse what is finished, continue what was killed, run the rest."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from infra.compute.protocol import Compute
from infra.home import Home, check_home
from infra.tracking.address import cause_of, is_away, is_of_store, wait_for_store
from infra.tracking.secrets import redacted, redacted_tree
from infra.tracking.store import COMPLETION_MARKER, FinishedRun, RunStore
from pipeline.config import flat
from pipeline.fingerprint import git_commit, package_versions
from pipeline.plan import Plan
from pipeline.work_dir import WorkDir, locked, write_marker
from reid_core.errors import UserError
from stages.stage import Stage

_log = logging.getLogger(__name__)

T = TypeVar("T")

# Value of the tag "kind" of the runs that gather the stages of one pipeline.
PIPELINE = "pipeline"

# How long results wait for a server that went away before the pipeline gives up (they are kept on disk).
_SECONDS_FOR_SERVER = 300.0
# A server that answers and yet breaks off is tried so often, with pauses that double.
_MOST_TRIES = 5
_SECONDS_TO_NEXT_TRY = 2.0


@dataclass(frozen=True)
class StageResult:
    """Outcome of one stage.

    Attributes:
        name: Name of the stage.
        reused: True where a finished run served.
        seconds: Seconds that this command spent on it.
        took: Seconds that the stage took when it ran.
        run_id: MLflow run that holds its artifacts.
        folder: Its artifacts.
    """

    name: str
    reused: bool
    seconds: float
    took: float
    run_id: str
    folder: Path


def run_plan(
    plan: Plan,
    home: Home,
    store: RunStore,
    compute: Compute,
    *,
    tags: Mapping[str, str],
    headline: Callable[[Sequence[StageResult]], Mapping[str, float]],
    labels: Callable[[Sequence[StageResult]], Mapping[str, str]] = lambda results: {},
    name: str = "pipeline",
    parent: str | None = None,
) -> list[StageResult]:
    """Run every stage of a plan, under one parent run.

    Args:
        plan: Stages to run, with their settings.
        home: Folder in which stages are worked on.
        store: Store of the results, in which finished stages are looked for.
        compute: Executor of the stages; asked for nothing when every stage is reused.
        tags: Tags of the parent run.
        headline: Makes the numbers that stand for the whole pipeline.
        labels: Makes the tags that stand for the whole pipeline, such as the version of the data set.
        name: Name of the parent run, for people who compare several.
        parent: Open run that gathers the stages, closed by the caller; None opens and closes one.

    Returns:
        One result a stage, in order.
    """
    check_home(home)
    home.create()
    if parent is None:
        store.close_orphans()
        params = flat({stage.name: plan.configs[stage.name] for stage in plan.stages})
        parent = store.start(name, params=params, tags={**_tags(), "kind": PIPELINE, **tags}, parent=None)
        ended: AbstractContextManager[None] = _ended_by_outcome(store, parent)
    else:
        ended = nullcontext()
    results: dict[str, StageResult] = {}
    with ended:
        if store.is_remote:  # one that takes no artifacts is known before any work
            settings = flat({stage.name: plan.configs[stage.name] for stage in plan.stages})
            _persist(store, partial(store.log_settings, parent, settings), "the pipeline", home)
        finished = store.find_finished({n: p for n, p in plan.fingerprints.items() if n not in plan.again})
        for stage in plan.stages:
            start = time.monotonic()
            run = _serving(finished.get(stage.name), stage, plan, store)
            reused = run is not None
            if run is None:
                inputs = {name: results[name].folder for name in stage.needs}
                run, reused = _Work(plan, home, store, compute, parent, stage).run(inputs)
            folder = store.artifacts_dir(run)
            took = float(_marker(folder)["seconds"])
            seconds = time.monotonic() - start
            results[stage.name] = StageResult(stage.name, reused, seconds, took, run.run_id, folder)
            if reused:
                _log.info("%s: reused, results in %s", stage.name, folder)
                store.tag(parent, f"reused.{stage.name}", run.run_id)
            else:
                _log.info("%s: done in %.1f s, results in %s", stage.name, took, folder)
        for key, value in labels(list(results.values())).items():
            store.tag(parent, key, value)
        store.log_results(parent, headline(list(results.values())))
    return list(results.values())


@dataclass(frozen=True)
class _Work:
    """Runs one stage that no finished run serves for."""

    plan: Plan
    home: Home
    store: RunStore
    compute: Compute
    parent: str
    stage: Stage

    @property
    def fingerprint(self) -> str:
        return self.plan.fingerprints[self.stage.name]

    def run(self, inputs: Mapping[str, Path]) -> tuple[FinishedRun, bool]:
        """Run the stage; or reuse it after all, when another process finished it in the meantime."""
        name = self.stage.name
        work_dir = WorkDir(self.home.work / f"{name}-{self.fingerprint[:16]}")
        waited: list[str] = []

        def wait(holder: str) -> None:
            _log.info("%s: %s works on it; waiting", name, holder)
            waited.append(holder)

        with locked(work_dir.folder, wait):
            if waited and (run := self.store.find_finished({name: self.fingerprint}).get(name)) is not None:
                return run, True
            check_home(self.home)
            work_dir.open()
            run_id = self._open_run(work_dir)
            with _ended_by_outcome(self.store, run_id, done=False):
                if (work_dir.out_dir / COMPLETION_MARKER).is_file():
                    _log.info("%s: complete already, storing its results", name)
                else:
                    self._run_stage(work_dir, run_id, inputs)
                self._persist(lambda: self._store_results(work_dir, run_id))
            work_dir.clear()
            return self.store.finished(run_id), False

    def _open_run(self, work_dir: WorkDir) -> str:
        name = self.stage.name
        known = work_dir.run_id
        if known is not None and self._persist(lambda: self.store.resume(str(known), parent=self.parent)):
            _log.info("%s: continuing where an earlier command stopped", name)
            return known
        tags = {**_tags(), "stage": name, "stage.version": str(self.stage.version), "fingerprint": self.fingerprint}
        params = flat({name: self.plan.configs[name]})
        run_id = self._persist(lambda: self.store.start(name, params=params, tags=tags, parent=self.parent))
        work_dir.remember_run(run_id)
        return run_id

    def _run_stage(self, work_dir: WorkDir, run_id: str, inputs: Mapping[str, Path]) -> None:
        name, config = self.stage.name, self.plan.configs[self.stage.name]
        _log.info("%s: running%s", name, f", reads {', '.join(self.stage.needs)}" if self.stage.needs else "")
        started, start = _now(), time.monotonic()
        tracker = self.store.tracker(run_id, work_dir.journal_dir)
        try:
            with self.store.system_metrics(run_id):
                self.stage.run(config, inputs, work_dir.out_dir, self.compute, tracker)
        finally:
            tracker.flush()
        facts = {
            "stage": name,
            "version": self.stage.version,
            "fingerprint": self.fingerprint,
            "config": redacted_tree(config.model_dump(mode="json")),
            "inputs": {need: self.plan.fingerprints[need] for need in self.stage.needs},
            "deterministic": self.plan.deterministic,
            "seconds": round(time.monotonic() - start, 2),
            "started": started,
            "finished": _now(),
            "run_id": run_id,
            "pipeline": self.parent,
            "packages": package_versions(),
            "git_commit": git_commit(),
        }
        write_marker(work_dir.out_dir / COMPLETION_MARKER, facts)

    def _store_results(self, work_dir: WorkDir, run_id: str) -> None:
        self.store.tracker(run_id, work_dir.journal_dir).replay()
        self.store.upload(run_id, work_dir.out_dir)
        self.store.tag(run_id, "seconds", str(_marker(work_dir.out_dir)["seconds"]))
        # The run counts as finished from here on, so this comes last.
        self.store.end(run_id, "FINISHED")

    def _persist(self, action: Callable[[], T]) -> T:
        return _persist(self.store, action, f"the {self.stage.name} stage", self.home)


def _persist(store: RunStore, action: Callable[[], T], who: str, home: Home) -> T:
    """Do something that needs the server, waiting a while for one that went away."""
    server = f"the MLflow server at {redacted(store.uri)}"
    kept = f"what {who} has done is kept in {home.work}"
    num_refused = 0
    while True:
        try:
            return action()
        except UserError:
            raise
        except Exception as error:
            if not store.is_remote or not (is_of_store(error) or isinstance(error, OSError)):
                raise
            # Right after the failure: a server that answers refuses, or what stands behind it is away.
            is_answering = wait_for_store(store.uri, 0.0)
            num_refused += is_answering
            if num_refused == _MOST_TRIES or (is_answering and not is_away(error)):
                raise UserError(
                    f"{server} answers, but does not take the results ({cause_of(error)}); {kept}: its log says "
                    "why, and it must be able to write its artifacts and hand them on (--serve-artifacts); then "
                    "give the same command again"
                ) from error
            _log.warning("%s: %s is away (%s); waiting for it", who, server, cause_of(error))
            if is_answering:
                time.sleep(_SECONDS_TO_NEXT_TRY * 2 ** (num_refused - 1))
            elif not wait_for_store(store.uri, _SECONDS_FOR_SERVER):
                raise UserError(
                    f"{server} stopped answering ({cause_of(error)}); {kept}, and the same command continues once "
                    "the server is back"
                ) from error


def _serving(run: FinishedRun | None, stage: Stage, plan: Plan, store: RunStore) -> FinishedRun | None:
    """Return a finished run unless its artifacts point to something that has moved."""
    if run is None or stage.still_serves is None:
        return run
    if stage.still_serves(plan.configs[stage.name], store.artifacts_dir(run)):
        return run
    _log.info("%s: known, but what it points to has moved; running it again", stage.name)
    return None


@contextmanager
def _ended_by_outcome(store: RunStore, run_id: str, *, done: bool = True) -> Iterator[None]:
    """Close a run when its block ends: FINISHED (unless the block does so itself), FAILED, or KILLED."""
    try:
        yield
    except BaseException as error:
        try:
            store.end(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        except Exception as second:  # noqa: BLE001 - the first error is the one to show
            _log.debug("run %s could not be closed: %s", run_id, second)
        raise
    if done:
        store.end(run_id, "FINISHED")


def _marker(folder: Path) -> dict[str, Any]:
    facts = json.loads((folder / COMPLETION_MARKER).read_text())
    assert isinstance(facts, dict), folder
    return facts


def _tags() -> dict[str, str]:
    versions = package_versions()
    tags = {"genvar.version": versions.get("genvar", "unknown"), "genvar.commit": git_commit() or "unknown"}
    return tags | {f"package.{name}": version for name, version in versions.items() if name != "genvar"}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
