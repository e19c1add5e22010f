"""The only doors to production."""
