"""What notebooks call: parameters, numbers, tables, figures, players and widgets."""

from lazy_loader import attach

MODULES = ["explorer", "figures", "page", "parameters", "players", "widgets"]

__getattr__, __dir__, __all__ = attach(__name__, MODULES)
