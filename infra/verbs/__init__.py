"""The verbs behind the Makefile: what a person does with a site, each a small module over the layers below."""
