"""The application: one module for each command, the tasks, and the run directory."""
