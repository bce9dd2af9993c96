"""The model card: a README.md in Markdown, with the metadata that model hubs read at its start."""
