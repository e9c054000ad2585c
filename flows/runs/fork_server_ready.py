"""Imported last by the server that forks our children: from here on it watches by itself."""

from flows.runs.fork_server import watch

if watch:
    watch.end()
