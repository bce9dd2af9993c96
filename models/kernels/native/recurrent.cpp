#include "recurrent.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <vector>

#include "pool.h"

namespace textrnn {
namespace {

constexpr Index kFewRows = 12;         // up to which the input is multiplied for several steps at once
constexpr Index kRowsOfProduct = 48;   // of such a product, or more
constexpr Index kRowsOfBlock = 256;    // whose part of the gradient of the weights is computed at once, or more
constexpr Index kRowsOfPart = 16;      // that a thread runs forwards, or more
constexpr Index kSmallWeights = 1 << 18;
constexpr Index kWidestPanel = 32;
constexpr double kSmallTask = 500e3;   // multiplications that a thread of its own is worth

Index rounded_up(Index size, Index unit) { return (size + unit - 1) / unit * unit; }

void prefetch(const float* from, Index count) {
  for (Index k = 0; k < count; k += 16) __builtin_prefetch(from + k);
}

// Zeros, aligned for any vector.
class Buffer {
 public:
  explicit Buffer(Index size = 0) {
    if (size <= 0) return;
    const std::size_t bytes = rounded_up(size, 16) * sizeof(float);
    data_ = static_cast<float*>(std::aligned_alloc(64, bytes));
    if (!data_) throw std::bad_alloc();
    std::memset(data_, 0, bytes);
  }
  Buffer(Buffer&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~Buffer() { std::free(data_); }
  float* get() const { return data_; }

 private:
  float* data_ = nullptr;
};

// Rows of a matrix [depth, stride], of which `count` columns from `first` are packed.
void pack_columns(const float* matrix, Index depth, Index stride, Index first, Index count, Index width, float* to) {
  for (Index column = 0; column < count; column += width) {
    const Index own = std::min(width, count - column);
    for (Index k = 0; k < depth; k++, to += width)
      std::memcpy(to, matrix + k * stride + first + column, own * sizeof(float));
  }
}

// The same of the transposed matrix: its columns are the rows of a matrix [size, stride], from column `first` on.
void pack_transposed(const float* matrix, Index size, Index stride, Index first, Index depth, Index width, float* to) {
  for (Index column = 0; column < size; column += width, to += depth * width)
    for (Index c = column; c < std::min(size, column + width); c++)
      for (Index k = 0; k < depth; k++) to[k * width + c - column] = matrix[c * stride + first + k];
}

Index panels_of(Index columns, Index width) { return (columns + width - 1) / width; }

// Rows from the longest to the shortest: those that have a step come first.
struct Order {
  std::vector<Index> rows, lengths;

  Order(const std::int32_t* lengths_of_rows, Index batch) : rows(batch), lengths(batch) {
    std::iota(rows.begin(), rows.end(), Index{0});
    std::stable_sort(rows.begin(), rows.end(),
                     [&](Index a, Index b) { return lengths_of_rows[a] > lengths_of_rows[b]; });
    for (Index i = 0; i < batch; i++) lengths[i] = lengths_of_rows[rows[i]];
  }
  Order(const Order& whole, Index part, Index parts) {
    for (std::size_t i = part; i < whole.rows.size(); i += parts) {
      rows.push_back(whole.rows[i]);
      lengths.push_back(whole.lengths[i]);
    }
  }
  Index size() const { return static_cast<Index>(rows.size()); }
  Index longest() const { return lengths.empty() ? 0 : lengths[0]; }
  // Number of rows that have a step, given the number of those that have the step before.
  Index with_step(Index step, Index before) const {
    while (before && lengths[before - 1] <= step) before--;
    return before;
  }
};

// Where a step of a row is in its sequence.
Index position(Index direction, Index length, Index step) { return direction ? length - 1 - step : step; }

double multiplications(const Shape& shape, const Order& order) {
  const double steps = std::accumulate(order.lengths.begin(), order.lengths.end(), 0.0);
  return steps * static_cast<double>(shape.directions * shape.gates() * shape.units) *
         static_cast<double>(shape.width + shape.units);
}

// Number of threads that the work is worth.
Index useful_threads(double work) {
  return std::max<Index>(1, std::min<Index>(threads(), static_cast<Index>(work / kSmallTask)));
}

}  // namespace

// ---- packed weights

// Sums that are computed together, of columns of the kernel, of the recurrent kernel or of both.
struct Group {
  Index mask;      // gate whose mask the hidden state gets; of -1 none
  Index offset;    // in the sums of a row
  Index panels;
  bool is_of_input, is_of_hidden;
  Buffer kernel, recurrent, bias;
};

class Packed {
 public:
  Packed(const Shape& shape, const Weights& weights, bool masked) {
    for (Index d = 0; d < shape.directions; d++) add_direction(shape, weights, d, masked);
  }
  std::vector<Group> groups[kMaxDirections];
  Index offsets[kMaxGates] = {};  // of the gates in the sums of a row
  Index size = 0;                 // of the sums of a row

 private:
  void add_direction(const Shape& shape, const Weights& weights, Index d, bool masked) {
    size = 0;
    const Index units = shape.units;
    if (shape.cell == Cell::kGru) {
      const float *bias = weights.biases[d], *recurrent_bias = bias + 3 * units;
      for (Index gate = 0; gate < 2; gate++)
        if (masked) add(shape, weights, d, gate, 1, true, true, bias, recurrent_bias, gate, gate);
      if (!masked) add(shape, weights, d, 0, 2, true, true, bias, recurrent_bias, -1, 0);
      add(shape, weights, d, 2, 1, true, false, bias, nullptr, -1, 2);
      add(shape, weights, d, 2, 1, false, true, recurrent_bias, nullptr, masked ? 2 : -1, 3);
    } else if (masked) {
      for (Index gate = 0; gate < shape.gates(); gate++)
        add(shape, weights, d, gate, 1, true, true, weights.biases[d], nullptr, gate, gate);
    } else {
      add(shape, weights, d, 0, shape.gates(), true, true, weights.biases[d], nullptr, -1, 0);
    }
    size += 2 * kernels().lanes;  // a whole vector may be read behind the last gate
  }

  // Adds `count` gates from `gate` on, whose sums are number `place` and those behind it.
  void add(const Shape& shape, const Weights& weights, Index d, Index gate, Index count, bool of_input, bool of_hidden,
           const float* bias, const float* more_bias, Index mask, Index place) {
    const Index units = shape.units, width = kernels().width, all = shape.gates() * units;
    const Index first = gate * units, columns = count * units, panels = panels_of(columns, width);
    Group group{mask, size, panels, of_input, of_hidden, Buffer(), Buffer(), Buffer(panels * width)};
    if (of_input) {
      group.kernel = Buffer(panels * width * shape.width);
      pack_columns(weights.kernels[d], shape.width, all, first, columns, width, group.kernel.get());
    }
    if (of_hidden) {
      group.recurrent = Buffer(panels * width * units);
      pack_columns(weights.recurrents[d], units, all, first, columns, width, group.recurrent.get());
    }
    for (Index i = 0; i < columns; i++)
      group.bias.get()[i] = bias[first + i] + (more_bias ? more_bias[first + i] : 0.0f);
    for (Index i = 0; i < count; i++) offsets[place + i] = size + i * units;
    size += panels * width;
    groups[d].push_back(std::move(group));
  }
};

std::shared_ptr<const Packed> pack(const Shape& shape, const Weights& weights, bool masked) {
  return std::make_shared<const Packed>(shape, weights, masked);
}

// ---- forwards

namespace {

// Some rows in one direction.
class ForwardRows {
 public:
  ForwardRows(const Shape& shape, const State& state, const Packed& packed, const Outputs& outputs, Index direction,
              Order order)
      : shape_(shape), state_(state), packed_(packed), outputs_(outputs), direction_(direction),
        order_(std::move(order)), rows_(order_.size()), is_few_(rows_ <= kFewRows),
        block_(is_few_ ? std::max<Index>(1, kRowsOfProduct / std::max<Index>(rows_, 1)) : 1),
        stride_(rounded_up(shape.units + kernels().lanes, 16)), inputs_(rows_ * block_ * shape.width),
        sums_(rows_ * block_ * packed.size), hidden_{Buffer(rows_ * stride_), Buffer(rows_ * stride_)},
        memory_(shape.cell == Cell::kLstm ? rows_ * stride_ : 0),
        masked_(state.masks ? shape.gates() * rows_ * stride_ : 0), pointers_(3 * rows_), active_in_step_(block_) {}

  void run() {
    start();
    Index active = rows_;
    const Index steps = order_.longest();
    for (Index first = 0; first < steps; first += block_) {
      const Index last = std::min(steps, first + block_);
      Index taken = 0;
      for (Index step = first; step < last; step++) {
        active = order_.with_step(step, active);
        active_in_step_[step - first] = active;
        take_inputs(step, active, taken);
        taken += active;
      }
      if (is_few_) multiply(taken, 0, 0, true, false);
      Index at = 0;
      for (Index step = first; step < last; step++) {
        const Index own = active_in_step_[step - first];
        take(step, own, at);
        at += own;
      }
    }
    for (Index r = 0; r < rows_; r++) end_row(r);
  }

 private:
  const float* initial(const float* state, Index r) const {
    return state + (direction_ * shape_.batch + order_.rows[r]) * shape_.units;
  }

  void start() {
    const Index bytes = shape_.units * sizeof(float);
    for (Index r = 0; r < rows_; r++) {
      if (state_.hidden) std::memcpy(hidden_[0].get() + r * stride_, initial(state_.hidden, r), bytes);
      if (state_.memory && memory_.get())
        std::memcpy(memory_.get() + r * stride_, initial(state_.memory, r), bytes);
      if (!order_.lengths[r]) keep(r, hidden_[0].get());
    }
  }

  // Keeps the state of a row after its last step.
  void keep(Index r, const float* hidden) {
    const Index at = (direction_ * shape_.batch + order_.rows[r]) * shape_.units, bytes = shape_.units * sizeof(float);
    std::memcpy(outputs_.last_hidden + at, hidden + r * stride_, bytes);
    if (memory_.get()) std::memcpy(outputs_.last_memory + at, memory_.get() + r * stride_, bytes);
  }

  Index place(Index r, Index step) const {
    return order_.rows[r] * shape_.steps + position(direction_, order_.lengths[r], step);
  }

  void take_inputs(Index step, Index active, Index at) {
    const Index width = shape_.width;
    for (Index r = 0; r < active; r++) {
      const float* from = state_.inputs + place(r, step) * width;
      std::memcpy(inputs_.get() + (at + r) * width, from, width * sizeof(float));
      if (is_few_ || step + 1 >= order_.lengths[r]) continue;
      prefetch(from + (direction_ ? -width : width), width);
    }
  }

  // The sums of `count` rows of `inputs_` and `sums_` from `at` on: the part of the input, of the hidden state, or both.
  void multiply(Index count, Index at, Index parity, bool of_input, bool of_hidden) {
    for (const Group& group : packed_.groups[direction_]) {
      const bool input = of_input && group.is_of_input, hidden = of_hidden && group.is_of_hidden;
      if (!input && !hidden) continue;
      float* sums = sums_.get() + at * packed_.size + group.offset;
      const float* before = group.mask < 0 || !masked_.get() ? hidden_[parity].get()
                                                             : masked_.get() + group.mask * rows_ * stride_;
      const bool is_continued = !input && group.is_of_input;
      kernels().multiply({{{inputs_.get() + at * shape_.width, shape_.width, group.kernel.get(), input ? shape_.width : 0},
                           {before, stride_, group.recurrent.get(), hidden ? shape_.units : 0}},
                          is_continued ? sums : group.bias.get(),
                          is_continued ? packed_.size : 0,
                          sums,
                          packed_.size,
                          count,
                          group.panels});
    }
  }

  void mask(Index active, Index parity) {
    if (!masked_.get()) return;
    for (Index gate = 0; gate < shape_.gates(); gate++)
      for (Index r = 0; r < active; r++) {
        const Index row = (direction_ * shape_.gates() + gate) * shape_.batch + order_.rows[r];
        const float *mask = state_.masks + row * shape_.units, *from = hidden_[parity].get() + r * stride_;
        float* to = masked_.get() + (gate * rows_ + r) * stride_;
        for (Index u = 0; u < shape_.units; u++) to[u] = from[u] * mask[u];
      }
  }

  void take(Index step, Index active, Index at) {
    const Index parity = step & 1;
    mask(active, parity);
    multiply(active, at, parity, !is_few_, true);
    float **outputs = pointers_.data(), **gates = outputs + rows_, **memories = gates + rows_;
    for (Index r = 0; r < active; r++) {
      const Index own = place(r, step), saved = direction_ * shape_.batch * shape_.steps + own;
      outputs[r] = outputs_.outputs + (own * shape_.directions + direction_) * shape_.units;
      if (outputs_.gates) gates[r] = outputs_.gates + saved * shape_.saved();
      if (outputs_.memories) memories[r] = outputs_.memories + saved * shape_.units;
    }
    ForwardStep values{shape_.activation, shape_.units, active, sums_.get() + at * packed_.size, packed_.size, {},
                       hidden_[parity].get(), hidden_[1 - parity].get(), memory_.get(), stride_, outputs,
                       outputs_.gates ? gates : nullptr, outputs_.memories ? memories : nullptr};
    std::copy(packed_.offsets, packed_.offsets + kMaxGates, values.offsets);
    kernels().forward(shape_.cell, values);
    for (Index r = active; r-- && order_.lengths[r] == step + 1;) keep(r, hidden_[1 - parity].get());
  }

  // Zeros beyond the length.
  void end_row(Index r) {
    const Index width = shape_.directions * shape_.units;
    float* row = outputs_.outputs + order_.rows[r] * shape_.steps * width + direction_ * shape_.units;
    for (Index step = order_.lengths[r]; step < shape_.steps; step++)
      std::memset(row + step * width, 0, shape_.units * sizeof(float));
  }

  const Shape& shape_;
  const State& state_;
  const Packed& packed_;
  const Outputs& outputs_;
  const Index direction_;
  const Order order_;
  const Index rows_;
  const bool is_few_;
  const Index block_;   // steps whose inputs are multiplied at once
  const Index stride_;  // of the states
  Buffer inputs_, sums_, hidden_[2], memory_, masked_;
  std::vector<float*> pointers_;
  std::vector<Index> active_in_step_;
};

}  // namespace

void run_forward(const Shape& shape, const State& state, const Packed& packed, const Outputs& outputs) {
  const Order order(state.lengths, shape.batch);
  const Index workers = useful_threads(multiplications(shape, order));
  // More parts than threads, so that a thread that gets less of the machine does less; unless the weights are large:
  // each part reads them in each step.
  const bool is_small = shape.gates() * shape.units * (shape.width + shape.units) <= kSmallWeights;
  const Index wanted = std::max(rounded_up(workers, shape.directions) / shape.directions,
                                is_small && workers > 1 ? shape.batch / kRowsOfPart : 1);
  const Index parts = std::max<Index>(1, std::min(wanted, shape.batch / kernels().height));
  std::vector<std::unique_ptr<ForwardRows>> all;
  for (Index d = 0; d < shape.directions; d++)
    for (Index part = 0; part < parts; part++)
      all.push_back(std::make_unique<ForwardRows>(shape, state, packed, outputs, d, Order(order, part, parts)));
  const Index count = static_cast<Index>(all.size());
  if (workers == 1)
    for (auto& rows : all) rows->run();
  else
    parallel(count, [&](Index i) { all[i]->run(); });
}

// ---- backwards

namespace {

// Gradients of some columns of the weights: those of the kernel, of the recurrent kernel or of both.
struct ColumnGradients {
  bool is_of_input, is_of_hidden;
  bool is_recurrent;  // whether they come from `recurrent_sums`
  Index gate;         // whose mask the hidden state has
  Index first, count; // columns
  Index panels;
  float* bias;
  Buffer kernel, recurrent, sums;
};

// Consecutive steps, last ones first, whose part of the gradient of the weights is computed at once.
struct Block {
  Index last, end;            // steps from `last` down to `end`
  std::vector<Index> offsets;  // of the rows of each step in the buffers
  Index size = 0;
};

// One direction. The order of all sums is fixed by the lengths alone, whatever the number of threads.
class BackwardDirection {
 public:
  BackwardDirection(const Shape& shape, const State& state, const Weights& weights, const Outputs& outputs,
                    const Gradients& gradients, const Order& order, float* inputs_gradient, Index direction, Index parts)
      : shape_(shape), state_(state), weights_(weights), outputs_(outputs), gradients_(gradients), order_(order),
        inputs_gradient_(inputs_gradient), direction_(direction), parts_(parts), rows_(order.size()),
        capacity_(std::max(rows_, kRowsOfBlock)), columns_(shape.gates() * shape.units),
        is_gru_(shape.cell == Cell::kGru), width_(kernels().width), height_(kernels().height),
        state_stride_(rounded_up(shape.units + width_, 16)), sums_stride_(rounded_up(columns_ + width_, 16)),
        input_strips_(panels_of(shape.width, height_)), hidden_strips_(panels_of(shape.units, height_)),
        input_strips_data_(input_strips_ * height_ * capacity_),
        hidden_strips_data_((state.masks ? shape.gates() : 1) * hidden_strips_ * height_ * capacity_),
        sums_(capacity_ * sums_stride_), recurrent_sums_(is_gru_ ? capacity_ * sums_stride_ : 0),
        hidden_(rows_ * state_stride_), memory_(shape.cell == Cell::kLstm ? rows_ * state_stride_ : 0),
        masked_(state.masks ? std::max(rows_ * state_stride_, Index{1}) : 0),
        inputs_(capacity_ * panels_of(shape.width, width_) * width_), targets_(capacity_) {
    const Index panels = panels_of(shape.units, width_), each = state.masks ? shape.units : columns_;
    for (Index first = 0; first < columns_; first += each) {
      recurrent_.emplace_back(panels * width_ * each);
      pack_transposed(weights.recurrents[direction], shape.units, columns_, first, each, width_,
                      recurrent_.back().get());
    }
    kernel_ = Buffer(panels_of(shape.width, width_) * width_ * columns_);
    pack_transposed(weights.kernels[direction], shape.width, columns_, 0, columns_, width_, kernel_.get());
    for (Index part = 0; part < parts; part++)
      pointers_.emplace_back(rows_ / parts + 1, state.masks ? shape.units : 0);
    plan_columns();
    plan_blocks();
    start();
  }

  Index blocks() const { return static_cast<Index>(blocks_.size()); }

  // Goes back through the steps of a block, for the rows of one part.
  void take_block(Index number, Index part) {
    const Block& block = blocks_[number];
    for (Index step = block.last; step >= block.end; step--)
      take(step, block.offsets[block.last - step], part, pointers_[part]);
  }

  // Tasks of a block after its steps.
  Index tasks() const { return columns_tasks_ + panels_of(capacity_, kRowsOfProduct); }
  void run_task(Index number, Index task) {
    const Block& block = blocks_[number];
    if (task >= columns_tasks_) return multiply_inputs(block, (task - columns_tasks_) * kRowsOfProduct);
    for (ColumnGradients& columns : all_columns_) {
      if (task < columns.panels) return add_panel(block, columns, task);
      task -= columns.panels;
    }
  }

  // Tasks after all blocks.
  Index last_tasks() const { return columns_tasks_ + 1; }
  void run_last_task(Index task) {
    if (task == columns_tasks_) return finish();
    for (ColumnGradients& columns : all_columns_) {
      if (task < columns.panels) return unpack(columns, task);
      task -= columns.panels;
    }
  }

 private:
  struct Pointers {
    Pointers(Index rows, Index units)
        : gates(rows), outputs(rows), memories(rows), memories_before(rows), hidden_before(rows), gradients(rows),
          masked_row(units) {}
    std::vector<const float*> gates, outputs, memories, memories_before, hidden_before, gradients;
    std::vector<float> masked_row;
  };

  void plan_columns() {
    const Index units = shape_.units;
    float* bias = gradients_.biases[direction_];
    if (is_gru_) {
      add_columns(true, false, false, 0, 0, columns_, bias);
      const Index each = state_.masks ? units : columns_;
      for (Index first = 0; first < columns_; first += each)
        add_columns(false, true, true, first / units, first, each, bias + columns_ + first);
    } else {
      const Index each = state_.masks ? units : columns_;
      for (Index first = 0; first < columns_; first += each)
        add_columns(true, true, false, first / units, first, each, bias + first);
    }
  }

  void add_columns(bool input, bool hidden, bool recurrent, Index gate, Index first, Index count, float* bias) {
    const Index panels = panels_of(count, width_), strip = height_ * width_;
    all_columns_.push_back({input, hidden, recurrent, gate, first, count, panels, bias,
                            Buffer(input ? panels * input_strips_ * strip : 0),
                            Buffer(hidden ? panels * hidden_strips_ * strip : 0), Buffer(panels * width_)});
    columns_tasks_ += panels;
  }

  void plan_blocks() {
    std::vector<Index> active(order_.longest());
    Index rows = rows_;
    for (Index step = 0; step < order_.longest(); step++) active[step] = rows = order_.with_step(step, rows);
    for (Index step = order_.longest() - 1; step >= 0; step--) {
      if (blocks_.empty() || blocks_.back().size + active[step] > capacity_) blocks_.push_back({step, step, {}, 0});
      Block& block = blocks_.back();
      block.end = step;
      block.offsets.push_back(block.size);
      block.size += active[step];
    }
    active_ = std::move(active);
  }

  Index state_row(Index r) const { return (direction_ * shape_.batch + order_.rows[r]) * shape_.units; }

  void start() {
    const Index bytes = shape_.units * sizeof(float);
    for (Index r = 0; r < rows_; r++) {
      std::memcpy(hidden_.get() + r * state_stride_, gradients_.last_hidden + state_row(r), bytes);
      if (memory_.get()) std::memcpy(memory_.get() + r * state_stride_, gradients_.last_memory + state_row(r), bytes);
    }
  }

  Index place(Index r, Index step) const {
    return order_.rows[r] * shape_.steps + position(direction_, order_.lengths[r], step);
  }
  const float* output(Index place) const {
    return outputs_.outputs + (place * shape_.directions + direction_) * shape_.units;
  }
  const float* mask(Index gate, Index r) const {
    return state_.masks + ((direction_ * shape_.gates() + gate) * shape_.batch + order_.rows[r]) * shape_.units;
  }

  void take(Index step, Index offset, Index part, Pointers& pointers) {
    Index count = 0;
    for (Index r = part; r < active_[step]; r += parts_, count++) {
      const Index own = place(r, step), before = step ? place(r, step - 1) : 0;
      const Index saved = direction_ * shape_.batch * shape_.steps;
      const float* hidden = step ? output(before) : state_.hidden ? state_.hidden + state_row(r) : nullptr;
      pointers.gates[count] = outputs_.gates + (saved + own) * shape_.saved();
      pointers.outputs[count] = output(own);
      pointers.hidden_before[count] = hidden;
      pointers.gradients[count] = gradients_.outputs + (own * shape_.directions + direction_) * shape_.units;
      if (memory_.get()) {
        pointers.memories[count] = outputs_.memories + (saved + own) * shape_.units;
        pointers.memories_before[count] = step           ? outputs_.memories + (saved + before) * shape_.units
                                          : state_.memory ? state_.memory + state_row(r)
                                                          : nullptr;
      }
      keep_row(r, own, offset + r, hidden, pointers.masked_row.data());
      if (step) prefetch_step(before, step > 1 ? place(r, step - 2) : before);
    }
    if (!count) return;
    const Index at = (offset + part) * sums_stride_, state = part * state_stride_;
    float* recurrent_sums = is_gru_ ? recurrent_sums_.get() + at : nullptr;
    kernels().backward(shape_.cell, {shape_.activation, shape_.units, count, pointers.gates.data(),
                                     pointers.outputs.data(), pointers.memories.data(), pointers.memories_before.data(),
                                     pointers.hidden_before.data(), pointers.gradients.data(), hidden_.get() + state,
                                     memory_.get() ? memory_.get() + state : nullptr, parts_ * state_stride_,
                                     sums_.get() + at, recurrent_sums, parts_ * sums_stride_});
    if (step || gradients_.hidden) multiply_hidden(is_gru_ ? recurrent_sums : sums_.get() + at, part, count);
  }

  // What the step before reads.
  void prefetch_step(Index own, Index before) const {
    const Index saved = direction_ * shape_.batch * shape_.steps;
    prefetch(outputs_.gates + (saved + own) * shape_.saved(), shape_.saved());
    if (memory_.get()) prefetch(outputs_.memories + (saved + before) * shape_.units, shape_.units);
    prefetch(output(before), shape_.units);
    prefetch(gradients_.outputs + (own * shape_.directions + direction_) * shape_.units, shape_.units);
    prefetch(state_.inputs + own * shape_.width, shape_.width);
  }

  // Keeps input and hidden state of a step for the gradient of the weights.
  void keep_row(Index r, Index own, Index at, const float* hidden, float* masked_row) {
    targets_[at] = own;
    kernels().add_to_strips(state_.inputs + own * shape_.width, shape_.width, input_strips_data_.get(),
                            capacity_ * height_, at);
    const Index size = hidden_strips_ * height_ * capacity_;
    if (!state_.masks) {
      if (hidden)
        kernels().add_to_strips(hidden, shape_.units, hidden_strips_data_.get(), capacity_ * height_, at);
      else
        add_zeros(hidden_strips_data_.get(), at);
      return;
    }
    for (Index gate = 0; gate < shape_.gates(); gate++) {
      const float* mask = this->mask(gate, r);
      for (Index u = 0; u < shape_.units; u++) masked_row[u] = hidden ? hidden[u] * mask[u] : 0.0f;
      kernels().add_to_strips(masked_row, shape_.units, hidden_strips_data_.get() + gate * size, capacity_ * height_, at);
    }
  }

  void add_zeros(float* strips, Index at) const {
    for (Index s = 0; s < hidden_strips_; s++)
      std::memset(strips + (s * capacity_ + at) * height_, 0, height_ * sizeof(float));
  }

  // The gradient of the hidden state before a step, from that of the sums.
  void multiply_hidden(const float* sums, Index part, Index count) {
    float* hidden = hidden_.get() + part * state_stride_;
    const Index stride = parts_ * state_stride_, panels = panels_of(shape_.units, width_);
    if (!state_.masks) {
      kernels().multiply({{{sums, parts_ * sums_stride_, recurrent_[0].get(), columns_}, {}},
                          is_gru_ ? hidden : nullptr, stride, hidden, stride, count, panels});
      return;
    }
    float* masked = masked_.get() + part * state_stride_;
    for (Index gate = 0; gate < shape_.gates(); gate++) {
      kernels().multiply({{{sums + gate * shape_.units, parts_ * sums_stride_, recurrent_[gate].get(), shape_.units}, {}},
                          nullptr, 0, masked, stride, count, panels});
      for (Index i = 0; i < count; i++) {
        const float* mask = this->mask(gate, part + i * parts_);
        float *to = hidden + i * stride, *from = masked + i * stride;
        const bool is_first = !gate && !is_gru_;
        for (Index u = 0; u < shape_.units; u++) to[u] = (is_first ? 0.0f : to[u]) + from[u] * mask[u];
      }
    }
  }

  // The gradient of the inputs, of some rows of a block.
  void multiply_inputs(const Block& block, Index first) {
    const Index count = std::min(kRowsOfProduct, block.size - first), panels = panels_of(shape_.width, width_);
    if (count <= 0) return;
    const Index stride = panels * width_;
    float* out = inputs_.get() + first * stride;
    kernels().multiply({{{sums_.get() + first * sums_stride_, sums_stride_, kernel_.get(), columns_}, {}}, nullptr, 0,
                        out, stride, count, panels});
    for (Index i = 0; i < count; i++)
      std::memcpy(inputs_gradient_ + targets_[first + i] * shape_.width, out + i * stride, shape_.width * sizeof(float));
  }

  void add_panel(const Block& block, ColumnGradients& columns, Index panel) {
    const float* sums = (columns.is_recurrent ? recurrent_sums_ : sums_).get() + columns.first + panel * width_;
    alignas(64) float copy[kRowsOfBlock * kWidestPanel];  // in the first cache
    const Index strip = height_ * width_;
    for (Index at = 0; at < block.size; at += kRowsOfBlock) {
      const Index count = std::min(kRowsOfBlock, block.size - at);
      kernels().take_panel(sums + at * sums_stride_, sums_stride_, count, copy, columns.sums.get() + panel * width_);
      if (columns.is_of_input)
        kernels().multiply_weights({input_strips_data_.get() + at * height_, capacity_ * height_, input_strips_, copy,
                                    count, columns.kernel.get() + panel * input_strips_ * strip});
      if (columns.is_of_hidden) {
        const Index gate = state_.masks ? columns.gate * hidden_strips_ * height_ * capacity_ : 0;
        kernels().multiply_weights({hidden_strips_data_.get() + gate + at * height_, capacity_ * height_,
                                    hidden_strips_, copy, count,
                                    columns.recurrent.get() + panel * hidden_strips_ * strip});
      }
    }
  }

  void unpack(const ColumnGradients& columns, Index panel) const {
    const Index from = panel * width_, count = std::min(width_, columns.count - from);
    const Index strip = height_ * width_, bytes = count * sizeof(float), first = columns.first + from;
    if (columns.is_of_input)
      for (Index k = 0; k < shape_.width; k++)
        std::memcpy(gradients_.kernels[direction_] + k * columns_ + first,
                    columns.kernel.get() + panel * input_strips_ * strip + k * width_, bytes);
    if (columns.is_of_hidden)
      for (Index k = 0; k < shape_.units; k++)
        std::memcpy(gradients_.recurrents[direction_] + k * columns_ + first,
                    columns.recurrent.get() + panel * hidden_strips_ * strip + k * width_, bytes);
    std::memcpy(columns.bias + from, columns.sums.get() + from, bytes);
  }

  // Zeros beyond the lengths; the gradient of the state before the first step.
  void finish() {
    const Index width = shape_.width;
    for (Index r = 0; r < rows_; r++) {
      float* row = inputs_gradient_ + order_.rows[r] * shape_.steps * width;
      std::memset(row + order_.lengths[r] * width, 0, (shape_.steps - order_.lengths[r]) * width * sizeof(float));
      const Index bytes = shape_.units * sizeof(float);
      if (gradients_.hidden) std::memcpy(gradients_.hidden + state_row(r), hidden_.get() + r * state_stride_, bytes);
      if (gradients_.memory) std::memcpy(gradients_.memory + state_row(r), memory_.get() + r * state_stride_, bytes);
    }
  }

  const Shape& shape_;
  const State& state_;
  const Weights& weights_;
  const Outputs& outputs_;
  const Gradients& gradients_;
  const Order& order_;
  float* const inputs_gradient_;
  const Index direction_, parts_, rows_;
  const Index capacity_;  // rows of the buffers of a block
  const Index columns_;
  const bool is_gru_;
  const Index width_, height_, state_stride_, sums_stride_, input_strips_, hidden_strips_;
  Buffer input_strips_data_, hidden_strips_data_, sums_, recurrent_sums_, hidden_, memory_, masked_, inputs_, kernel_;
  std::vector<Buffer> recurrent_;
  std::vector<Pointers> pointers_;
  std::vector<Index> targets_, active_;
  std::vector<ColumnGradients> all_columns_;
  Index columns_tasks_ = 0;
  std::vector<Block> blocks_;
};

}  // namespace

void run_backward(const Shape& shape, const State& state, const Weights& weights, const Outputs& outputs,
                  const Gradients& gradients) {
  const Order order(state.lengths, shape.batch);
  const Index workers = useful_threads(2 * multiplications(shape, order));
  const bool is_apart = workers <= shape.directions;  // each direction in a thread of its own
  const Index parts =
      is_apart ? 1
               : std::max<Index>(1, std::min(rounded_up(workers, shape.directions) / shape.directions,
                                             shape.batch / kernels().height));
  const Index size = shape.batch * shape.steps * shape.width;
  Buffer second(shape.directions > 1 ? size : 0);
  std::unique_ptr<BackwardDirection> all[kMaxDirections];
  const auto prepare = [&](Index d) {
    all[d] = std::make_unique<BackwardDirection>(shape, state, weights, outputs, gradients, order,
                                                 d ? second.get() : gradients.inputs, d, parts);
  };
  for (Index d = 0; d < shape.directions; d++) prepare(d);
  const auto each = [&](Index count, const std::function<void(Index)>& task) {
    if (workers > 1) return parallel(count, task);
    for (Index i = 0; i < count; i++) task(i);
  };
  if (is_apart) {
    each(shape.directions, [&](Index d) {
      for (Index block = 0; block < all[d]->blocks(); block++) {
        all[d]->take_block(block, 0);
        for (Index task = 0; task < all[d]->tasks(); task++) all[d]->run_task(block, task);
      }
      for (Index task = 0; task < all[d]->last_tasks(); task++) all[d]->run_last_task(task);
    });
  } else {
    const Index tasks = all[0]->tasks(), last_tasks = all[0]->last_tasks();
    for (Index block = 0; block < all[0]->blocks(); block++) {
      each(shape.directions * parts, [&](Index i) { all[i / parts]->take_block(block, i % parts); });
      each(shape.directions * tasks, [&](Index i) { all[i / tasks]->run_task(block, i % tasks); });
    }
    each(shape.directions * last_tasks, [&](Index i) { all[i / last_tasks]->run_last_task(i % last_tasks); });
  }
  if (shape.directions == 1) return;
  const Index pieces = workers;
  each(pieces, [&](Index i) {
    for (Index k = size * i / pieces; k < size * (i + 1) / pieces; k++) gradients.inputs[k] += second.get()[k];
  });
}

}  // namespace textrnn
