"""Objectives of a search: a number of every epoch, chosen without labels unless labels are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reid_core.errors import UserError


@dataclass(frozen=True)
class Objective:
    """A number that the training stages log at every epoch.

    Attributes:
        name: As the user gives it.
        metric: Name under which a stage logs it.
        meaning: One sentence for people.
        mode: Whether more or less is better.
        stages: Stages that log it; the last one that a plan holds is listened to.
        uses_labels: Whether identities of the test people enter it: results chosen by it are chosen on labels.
    """

    name: str
    metric: str
    meaning: str
    mode: Literal["max", "min"] = "max"
    stages: tuple[str, ...] = ("joint", "identity")
    uses_labels: bool = False


OBJECTIVES = (
    Objective(
        "silhouette-all", "silhouette_all", "mean silhouette of all images in Jaccard distance, an outlier counting 0"
    ),
    Objective(
        "clustered-agreement", "clustered_agreement", "agreement times the share of images that are in a cluster"
    ),
    Objective(
        "agreement",
        "agreement_previous",
        "adjusted Rand index between the pseudo labels of an epoch and of the one before",
    ),
    Objective("silhouette", "silhouette", "mean silhouette of the clusters in Jaccard distance"),
    Objective(
        "cycle",
        "image_cycle",
        "mean absolute difference between an image and its generated rotation turned back",
        mode="min",
        stages=("generator",),
    ),
    Objective(
        "labelled-mAP",
        "monitor/mAP",
        "mAP of the test people: needs identities, and every result is marked as chosen on labels",
        uses_labels=True,
    ),
)


def find_objective(name: str | None, searched: set[str]) -> Objective:
    """Return an objective by name, or the default one for the stages that a search varies.

    Args:
        name: As the user gave it, or None.
        searched: Stages whose settings vary.

    Returns:
        For a search over the generator alone ``cycle``, else ``silhouette-all``, when no name was given.
    """
    known = {objective.name: objective for objective in OBJECTIVES}
    if name is None:
        name = "cycle" if searched == {"generator"} else "silhouette-all"
    if name not in known:
        raise UserError(f'--objective wants one of {", ".join(known)}, but got "{name}"')
    return known[name]


def listened_stage(objective: Objective, searched: set[str], needs: Mapping[str, tuple[str, ...]]) -> str:
    """Return the stage whose epochs a search reads; trials end with it.

    Args:
        objective: Of the search.
        searched: Stages whose settings vary.
        needs: Every stage, in order, and the stages it reads.

    Returns:
        The first stage that logs the objective and depends on everything that varies.
    """
    for name in needs:
        if name in objective.stages and searched <= _read_by(name, needs):
            return name
    raise UserError(
        f"the objective {objective.name} is logged by {' and '.join(objective.stages)}, which do not depend on the "
        f"searched settings of {' and '.join(sorted(searched))}; choose another --objective, or vary other settings"
    )


def _read_by(stage: str, needs: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {stage}.union(*(_read_by(name, needs) for name in needs[stage]))
