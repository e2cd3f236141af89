"""Ranking, embedding, pictures."""
