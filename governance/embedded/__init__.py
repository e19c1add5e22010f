"""Private PostgreSQL and Valkey for one data directory, and the processes beside them.

Nothing here imports Django: settings read `servers.json` through this package.
"""
