"""The commands: each reads like a method section and carries results from room to room."""
