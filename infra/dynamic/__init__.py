"""Dynamic providers: what the site needs of Pulumi's state that no cloud API keeps.

Python's dynamic providers are pickled into the state. These are pickled by name, never by value: the plugin imports
them from the clone, so that the state holds no bytecode and an edited provider is no change of the site. Each provider
is therefore thin, and holds nothing of its own.
"""
