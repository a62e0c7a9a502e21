"""Whole jobs: plans of sessions, and what drives them."""
