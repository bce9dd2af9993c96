"""A server of exports that speaks TensorFlow Serving's REST and gRPC."""
