"""Blocklists: read from files and documents, compiled, asked by name and by address."""
