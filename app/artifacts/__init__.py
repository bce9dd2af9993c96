"""What lies on disk: runs, exports, and what they hold."""
