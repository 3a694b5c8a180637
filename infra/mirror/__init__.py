"""The artefact mirror: pinned artefacts, how each is obtained, the store and its HTTP server."""
