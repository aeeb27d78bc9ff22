"""What every computation needs: stages, atomic files, code identity, progress, provenance."""

from lib.runtime.places import move_caches

move_caches()  # before any package looks for its cache
