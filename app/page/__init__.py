"""Self-contained HTML pages of headed sections, with tables, figures and marked texts."""
