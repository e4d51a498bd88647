"""Replay recorded replies, check answers and keep score."""
