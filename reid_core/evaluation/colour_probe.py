"""How much of people's colours an appearance still holds: what is lost there, no generator can paint.

Letters: N images, H x W pixels, P stripes, C numbers of a stripe's appearance.
"""

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from reid_core.models.identity import part_appearance

_FOLDS = 5
_RIDGE = tuple(10.0**power for power in range(1, 6))


def colour_probe(parts: Tensor, images: Tensor) -> float:
    """Tell how well a linear read-out of the appearance knows the mean colour of each stripe.

    The middle half of the width is read, where people are. Every image is predicted by a ridge regression that was
    fitted to four fifths of the others; no label is used.

    Args:
        parts: A(x), shape (N, P, C), N at least 5.
        images: x in [-1, 1], shape (N, 3, H, W).

    Returns:
        Share of the colours' variance that is explained: 1 when all is known, 0 (or less) when nothing is.
    """
    width = images.shape[3]
    colours = part_appearance(images[:, :, :, width // 4 : width - width // 4], parts.shape[1]).cpu().numpy()
    appearance = parts.cpu().numpy()
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    predicted = np.stack(
        [
            cross_val_predict(
                make_pipeline(StandardScaler(), RidgeCV(_RIDGE)), appearance[:, part], colours[:, part], cv=folds
            )
            for part in range(parts.shape[1])
        ],
        axis=1,
    )
    count = len(colours)
    # Of all stripes and channels together, as much as each varies.
    return float(r2_score(colours.reshape(count, -1), predicted.reshape(count, -1), multioutput="variance_weighted"))
