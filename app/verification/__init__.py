"""What can be known of an export before it is trusted: its operations, its kernels, its answers."""
