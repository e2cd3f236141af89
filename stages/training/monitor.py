"""A labelled look at a training that must not see labels: it logs, and gives nothing back."""

import json
import logging
from pathlib import Path

from torch import Tensor, nn

from infra.tracking.protocol import Tracker
from reid_core.data.images import load_images
from reid_core.data.manifest import read_manifest
from reid_core.errors import UserError
from reid_core.evaluation.agreement import agreement
from reid_core.evaluation.embed import embed, embed_files
from reid_core.evaluation.ranking import Side, evaluate_ranking
from stages.truth import image_paths, labelled_side, train_people, why_not_ranked

_LOG = logging.getLogger(__name__)
_BATCH = 128
_CACHE_BYTES = 1 << 30  # test images are kept decoded up to this size


class LabelledMonitor:
    """Measures an epoch against the truth where there is one, for people to look at.

    ``log`` returns None and the object has no public attribute, so that no training code can act on an identity.

    Args:
        data_dir: Output of the data stage.
        history: File of one JSON object an epoch, kept without doubles when an epoch is run again after a crash.
        num_threads: Pictures decoded at the same time.
    """

    def __init__(self, data_dir: Path, history: Path, *, num_threads: int = 1) -> None:
        manifest = read_manifest(data_dir / "manifest.parquet")
        self.__size = (int(manifest.info["image_size"][0]), int(manifest.info["image_size"][1]))
        self.__query, self.__gallery = manifest.split("query"), manifest.split("gallery")
        self.__ranks = why_not_ranked(manifest) is None
        self.__truth = train_people(manifest)
        self.__images: dict[str, Tensor] = {}
        self.__history = history
        self.__num_threads = num_threads

    def log(self, tracker: Tracker, epoch: int, encoder: nn.Module, labels: Tensor | None) -> None:
        """Measure one epoch; silent when the data set has no identities, and never the end of a training.

        Args:
            tracker: Receives the numbers under ``monitor/`` at step ``epoch``.
            epoch: Epoch that has ended, from 0.
            encoder: Identity encoder on its device; its mode and the random state are left alone.
            labels: Pseudo labels of the training images, (N,), or None.
        """
        values: dict[str, float] = {}
        if self.__ranks:
            try:
                ranking = evaluate_ranking(self.__side(encoder, "query"), self.__side(encoder, "gallery"))
                values |= {"mAP": 100 * ranking.mean_ap, "rank1": 100 * ranking.cmc[1]}
            except UserError as error:  # a test image that is gone, features that are no numbers
                _LOG.warning("the test images were not looked at in epoch %d: %s", epoch, error)
        if self.__truth is not None and labels is not None:
            found = agreement(labels.cpu().numpy(), self.__truth)
            values |= {"ari": found.ari, "nmi": found.nmi, "purity": found.purity}
        if not values:
            return
        best = self.__write(epoch, values)
        tracker.log_metrics({f"monitor/{name}": value for name, value in values.items()} | best, step=epoch)

    def __write(self, epoch: int, values: dict[str, float]) -> dict[str, float]:
        kept = self.__history.read_text().splitlines() if self.__history.exists() else []
        rows = [row for row in map(json.loads, kept) if row["epoch"] < epoch] + [{"epoch": epoch, **values}]
        self.__history.parent.mkdir(parents=True, exist_ok=True)
        partial = self.__history.with_suffix(".tmp")
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        partial.replace(self.__history)
        # Choosing an epoch on the test set flatters: it is logged under a name that says so, and never used.
        return {"best_on_test/mAP": max(row["mAP"] for row in rows if "mAP" in row)} if "mAP" in values else {}

    def __side(self, encoder: nn.Module, split: str) -> Side:
        rows = self.__query if split == "query" else self.__gallery
        device = next(encoder.parameters()).device
        paths = image_paths(rows)
        if split not in self.__images and 3 * self.__size[0] * self.__size[1] * len(rows) <= _CACHE_BYTES // 2:
            self.__images[split] = load_images(paths, self.__size, num_threads=self.__num_threads)
        if split in self.__images:
            features = embed(encoder, self.__images[split], batch_size=_BATCH, device=device)
        else:
            features = embed_files(
                encoder, paths, size=self.__size, batch_size=_BATCH, device=device, num_threads=self.__num_threads
            )
        return labelled_side(rows, features)
