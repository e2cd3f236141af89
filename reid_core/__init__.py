"""The science of unsupervised re-identification with generated variance: torch in, torch out."""
