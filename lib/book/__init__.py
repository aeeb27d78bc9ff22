"""What the notebooks of all chapters call: parameters, numbers, tables, figures, players, widgets."""

from lazy_loader import attach

MODULES = ["explorer", "figures", "page", "parameters", "players", "widgets"]

__getattr__, __dir__, __all__ = attach(__name__, MODULES)
