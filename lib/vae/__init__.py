"""Variational autoencoders: losses, nets, training, evaluation and the collapse alarm."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "losses": ["LOSSES", "kl_per_unit"],
        "networks": ["VAE", "Encoder", "Decoder", "reparameterise"],
        "presets": ["PRESETS", "build"],
        "config": ["TrainingConfig"],
        "training": ["train"],
        "checkpoints": ["Run"],
        "evaluation": ["evaluate", "measure", "reconstruct", "encode_all", "importance_nll"],
        "alarm": ["CollapseAlarm", "before_training"],
    },
)
