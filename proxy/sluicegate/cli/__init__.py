"""The command line: the composition root. Each command is a module of its own, with a function `command`."""
