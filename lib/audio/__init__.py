"""Sound only: loudness, effects and plug-ins, spectrograms and back, cepstral features."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "cepstra": ["cepstral_features", "fields"],
        "effects": [
            "EFFECTS",
            "REPORT_ORDER",
            "apply_at",
            "controls_table",
            "draw_wet",
            "find_effect",
        ],
        "inversion": ["phase", "to_audio"],
        "levels": ["level", "loudness"],
        "spectrograms": ["REPORT_STFT", "SpectrogramConfig", "spectrogram"],
    },
)
