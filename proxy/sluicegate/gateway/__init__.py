"""The gateway as one running thing: its parts put together, its listeners, its reloads and its end."""
