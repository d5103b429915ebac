"""The commands: each workflow reads like a method section and passes results between rooms."""
