"""Run folders, their manifests and the folder of promoted models."""
