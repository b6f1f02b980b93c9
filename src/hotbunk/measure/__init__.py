"""Measuring a living worker: its socket, and what moves and steps on it take."""
