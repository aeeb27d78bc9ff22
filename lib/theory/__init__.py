"""Theory of collapse in numpy and scipy: components, water level, linear VAE (chapter 05)."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "components": ["Pca", "pca", "separable_pca"],
        "collapse": [
            "REDUCTIONS",
            "Prediction",
            "Reduction",
            "calibrated_sigma2",
            "edge_beta",
            "predict",
            "sigma2_of",
            "weight_of",
        ],
        "linear_vae": ["optimise"],
    },
)
