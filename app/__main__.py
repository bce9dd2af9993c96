"""`python -m app` is `textrnn`."""

from app.cli import main

main()
