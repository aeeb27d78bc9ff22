"""What every computation needs: stages, atomic files, code identity, progress, provenance."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "code": ["code_hash", "source_hash"],
        "files": ["write_atomic", "write_json"],
        "provenance": ["commit", "device_name", "peak_memory_mb", "versions"],
        "stages": ["read_card", "root", "stage", "verify_all"],
    },
)
