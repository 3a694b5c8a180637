"""Installing a dedicated server: states, what proves each, and what is kept so that no interruption costs a host."""
