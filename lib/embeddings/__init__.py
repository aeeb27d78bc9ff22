"""Latent codes compared: methods, probes, and maps in the plane.

`embed(data, method, ...)` fits a row of METHODS and keeps its codes and scores, `folds` and
`accuracies` are the protocol by persons and songs, `umap_2d` and `separation` draw a map and say
how well effects separate on it.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "maps": ["knn_accuracy", "latent_map", "map_stage", "reduce", "separation", "umap_2d"],
        "methods": ["METHODS", "Embedding", "embed"],
        "probes": ["PROBES", "accuracies", "folds", "parameters_r2", "probe"],
    },
)
