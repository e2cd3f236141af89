"""Searches over settings: Ray Tune over the pipeline, MLflow as the lab book."""
