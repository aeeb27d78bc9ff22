"""Latent codes compared: methods, probes, maps."""
