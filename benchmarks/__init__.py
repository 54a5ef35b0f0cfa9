"""Benchmarks of eebench itself: is the walk as fast as its MACs say, is replay as cheap as it should be?

``python -m benchmarks`` runs them all; see README.md beside this file for the goals and the figures measured.
"""
