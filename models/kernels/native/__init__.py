"""Native kernels of recurrent layers for CPUs, in C++, and the operation of TensorFlow that runs them."""
