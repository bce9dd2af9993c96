// What every instruction set computes; `kernels.cpp` is compiled once for each of them.
#pragma once

#include <cstdint>

namespace textrnn {

using Index = std::int64_t;

enum class Cell { kSimple, kGru, kLstm };
enum class Activation { kTanh, kSigmoid, kRelu };

constexpr Index kMaxGates = 4;

// Rows of a matrix times a packed matrix. `panels` holds the columns in panels of `Kernels::width` columns:
// [panel][depth][width], with zeros beyond the last column.
struct Factor {
  const float* rows;
  Index stride;
  const float* panels;
  Index depth;
};

// out[r] = start[r] + the sum of the factors, for `rows` rows and all columns of `panels` panels. Each element is
// summed in one order, whatever the number of rows: the factors in turn, each from depth 0 upwards.
struct Product {
  Factor factors[2];
  const float* start;  // null for zeros
  Index start_stride;  // 0: every row starts with the same numbers, such as a bias
  float* out;
  Index out_stride;
  Index rows;
  Index panels;
};

// out[panel][m][width] += sum over k of strips[strip][k][m] * columns[k][width], for all strips of one panel.
// A strip has `Kernels::height` rows of the result.
struct WeightProduct {
  const float* strips;
  Index strip_stride;  // from strip to strip
  Index strips_count;
  const float* columns;
  Index depth;
  float* out;
};

// One step of some rows after the products, forwards. Arrays of pointers have one element for each row.
struct ForwardStep {
  Activation activation;
  Index units;
  Index rows;
  const float* sums;  // [rows][sums_stride], the gates at `offsets`
  Index sums_stride;
  Index offsets[kMaxGates];
  const float* hidden;  // before the step
  float* next_hidden;   // after it
  float* memory;        // of an LSTM, before the step and after it
  Index state_stride;
  float* const* outputs;
  float* const* gates;     // null unless training: [kMaxGates][units] of each row
  float* const* memories;  // null unless training an LSTM
};

// One step of some rows before the products, backwards. All pointers are to the numbers of this step.
struct BackwardStep {
  Activation activation;
  Index units;
  Index rows;
  const float* const* gates;
  const float* const* outputs;
  const float* const* memories;
  const float* const* memories_before;  // an element may be null for zeros
  const float* const* hidden_before;    // likewise
  const float* const* output_gradients;
  float* hidden_gradient;  // in: from later steps; out, of a GRU: what reaches the hidden state before directly
  float* memory_gradient;  // in and out
  Index state_stride;
  float* input_sums;      // out: the gradient of the sums that the input is part of
  float* recurrent_sums;  // out, of a GRU: of those that the hidden state is part of; else null, the same
  Index sums_stride;
};

struct Kernels {
  const char* name;
  Index width;   // columns of a panel
  Index height;  // rows of a strip
  Index lanes;   // numbers of a vector; buffers are padded so that a whole vector may be read and written
  void (*multiply)(const Product&);
  void (*multiply_weights)(const WeightProduct&);
  // Copies a row into strips: element m goes to strips[m / height][position][m % height].
  void (*add_to_strips)(const float* row, Index size, float* strips, Index strip_stride, Index position);
  // Copies columns of a matrix into one panel, and adds each to its sum.
  void (*take_panel)(const float* rows, Index stride, Index count, float* panel, float* sums);
  void (*forward)(Cell, const ForwardStep&);
  void (*backward)(Cell, const BackwardStep&);
};

#if defined(__x86_64__)
const Kernels& kernels_avx512();
const Kernels& kernels_avx2();
#endif
const Kernels& kernels_baseline();

}  // namespace textrnn
