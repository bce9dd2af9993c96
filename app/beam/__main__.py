"""`python -m app.beam`."""

from app.beam.command import main

if __name__ == "__main__":
    main()
