// Recurrent layers over padded rows, forwards and backwards, in one or two directions.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels.h"

namespace textrnn {

constexpr Index kMaxDirections = 2;

struct Shape {
  Cell cell;
  Activation activation;
  Index directions;
  Index batch;
  Index steps;
  Index width;  // of the input
  Index units;

  // Gates of the weights: kernels are [width, gates * units].
  Index gates() const { return cell == Cell::kLstm ? 4 : cell == Cell::kGru ? 3 : 1; }
  // Numbers of a step that the gradient needs, beside the outputs.
  Index saved() const { return cell == Cell::kSimple ? 0 : 4 * units; }
};

struct Weights {
  const float* kernels[kMaxDirections];     // [width, gates * units]
  const float* recurrents[kMaxDirections];  // [units, gates * units]
  const float* biases[kMaxDirections];      // [gates * units], of a GRU [2, gates * units]
};

struct State {
  const float* inputs;         // [batch, steps, width]
  const std::int32_t* lengths;  // [batch], each from 0 to steps
  const float* hidden;         // [directions, batch, units], or null for zeros
  const float* memory;         // likewise, of an LSTM
  const float* masks;          // [directions, gates, batch, units] of the hidden state, or null
};

struct Outputs {
  float* outputs;      // [batch, steps, directions * units]
  float* last_hidden;  // [directions, batch, units]
  float* last_memory;  // likewise, of an LSTM
  float* gates;        // [directions, batch, steps, saved], or null
  float* memories;     // [directions, batch, steps, units], or null
};

struct Gradients {
  const float* outputs;  // gradients of `Outputs`
  const float* last_hidden;
  const float* last_memory;
  float* inputs;  // gradients of the inputs
  float* hidden;  // or null
  float* memory;  // or null
  float* kernels[kMaxDirections];
  float* recurrents[kMaxDirections];
  float* biases[kMaxDirections];
};

// Weights as the products take them. Both throw std::bad_alloc.
class Packed;
std::shared_ptr<const Packed> pack(const Shape&, const Weights&, bool masked);

void run_forward(const Shape&, const State&, const Packed&, const Outputs&);
void run_backward(const Shape&, const State&, const Weights&, const Outputs&, const Gradients&);

// The kernels of the best instruction set of this machine, or of the chosen one.
const Kernels& kernels();

// Chooses by name, or the best for null; returns whether this machine has it. No call may run meanwhile: packed
// weights are those of one instruction set.
bool choose_kernels(const char* name);

}  // namespace textrnn
