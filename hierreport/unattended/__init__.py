"""Runs that nobody watches: exit codes, data that are not ready, alerts, notifications, files for schedulers."""
