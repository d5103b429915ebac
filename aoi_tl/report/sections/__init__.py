"""The sections of the page: each builds its view model from a run's tables."""
