"""The sections of the page: each a function from a run's tables to what its template shows."""
