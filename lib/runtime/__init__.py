"""What every computation needs: stages, atomic files, code identity, progress, provenance."""
