"""Run folders, their manifests and the shelf of promoted models."""
