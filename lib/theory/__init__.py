"""Theory of collapse: components, water level, linear VAE (chapter 05), the edge of any loss."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "components": ["Pca", "pca", "separable_pca"],
        "collapse": [
            "REDUCTIONS",
            "calibrated_sigma2",
            "edge_beta",
            "predict",
            "sigma2_of",
            "weight_of",
        ],
        "linear_vae": ["optimise"],
        "stability": ["Edge", "edge", "weight_as_coded"],
        "any_loss": ["edge_of", "edge_of_use"],
    },
)
