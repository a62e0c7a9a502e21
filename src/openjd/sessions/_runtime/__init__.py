"""Threads, files and running actions."""
