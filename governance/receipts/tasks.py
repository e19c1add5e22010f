"""Registered at start; see the package."""
