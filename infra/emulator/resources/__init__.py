"""One module a resource family; each hands its routes to the application."""
