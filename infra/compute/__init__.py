"""Executors: Ray and in-process."""
