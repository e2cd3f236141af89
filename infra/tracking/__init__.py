"""MLflow tracking that never stops training."""
