"""From files to batches: corpora, recordings, splits, clips, renderings, examples for a net."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "batches": ["ArrayDataset", "Splits"],
        "clips": ["ClipConfig", "Clips"],
        "corpora": ["load_corpus", "manifest"],
        "digits": ["load_digits"],
        "equaliser": ["equalised"],
        "examples": ["SMALL", "load_examples", "paired_splits", "render_pairs"],
        "rendering": ["RenderConfig", "render"],
        "splits": ["split_groups"],
    },
)
