"""Argument checks, nested arrays, finite numbers and atomic files."""
