"""Classical EM by scikit-learn, one iteration at a time from a given start: parameters after each."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture


def main(folder: Path, covariance: str, variance: float, iterations: int) -> None:
    rows = np.load(folder / "rows.npy").astype(np.float64)
    means = np.load(folder / "means.npy").astype(np.float64)
    components, dim = means.shape
    weights = np.full(components, 1 / components)
    shape = (components, dim) if covariance == "diag" else (components,)
    precisions = np.full(shape, 1 / variance)
    history = []
    warnings.simplefilter("ignore", ConvergenceWarning)
    for _ in range(iterations):
        mixture = GaussianMixture(
            components,
            covariance_type=covariance,
            reg_covar=0,
            max_iter=1,
            weights_init=weights,
            means_init=means,
            precisions_init=precisions,
        ).fit(rows)
        weights, means, precisions = mixture.weights_, mixture.means_, mixture.precisions_
        history.append(
            {
                "means": means.ravel().tolist(),
                "variances": mixture.covariances_.ravel().tolist(),
                "weights": (weights / weights.sum()).tolist(),
            }
        )
    print(json.dumps(history))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
