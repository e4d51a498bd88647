"""Locks, threads and a background queue that survive a fork and never hold up interpreter exit."""
