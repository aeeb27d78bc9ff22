"""What every computation needs: stages, code identity, progress, provenance."""
