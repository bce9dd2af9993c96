// The kernels' own test program: every instruction set of this machine against plain loops in double precision, for
// random shapes and lengths, and the same bits for every number of threads. Built with the sanitizers of the compiler
// it finds reads and writes out of bounds. Prints one line a case and ends with the number of wrong ones.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "pool.h"
#include "recurrent.h"

using namespace textrnn;

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

std::mt19937 generator(1);

Floats random(Index size, float scale) {
  std::normal_distribution<float> normal(0, scale);
  Floats found(size);
  for (float& value : found) value = normal(generator);
  return found;
}
Index random_up_to(Index most) { return 1 + static_cast<Index>(generator() % most); }

struct Case {
  Shape shape;
  std::vector<std::int32_t> lengths;
  Floats inputs, hidden, memory, masks;
  Floats kernels[2], recurrents[2], biases[2];
  Floats dy, dhidden, dmemory;
  bool has_state, has_masks;
};

Case random_case(int number) {
  Case made;
  Shape& shape = made.shape;
  shape = {static_cast<Cell>(number % 3), static_cast<Activation>(number / 3 % 3), 1 + number % 2, random_up_to(20),
           random_up_to(9), random_up_to(40), random_up_to(40)};
  if (number % 7 == 0) shape.batch = 1;
  made.has_state = number % 5 != 0;
  made.has_masks = number % 4 == 0;
  for (Index i = 0; i < shape.batch; i++) made.lengths.push_back(static_cast<int>(generator() % (shape.steps + 1)));
  const Index gates = shape.gates(), states = shape.directions * shape.batch * shape.units;
  made.inputs = random(shape.batch * shape.steps * shape.width, 1);
  made.hidden = random(states, 0.5f), made.memory = random(states, 0.5f);
  made.masks = random(gates * states, 1);
  for (Index d = 0; d < shape.directions; d++) {
    made.kernels[d] = random(shape.width * gates * shape.units, 0.2f);
    made.recurrents[d] = random(shape.units * gates * shape.units, 0.2f);
    made.biases[d] = random((shape.cell == Cell::kGru ? 2 : 1) * gates * shape.units, 0.2f);
  }
  made.dy = random(shape.batch * shape.steps * shape.directions * shape.units, 1);
  made.dhidden = random(states, 1), made.dmemory = random(states, 1);
  return made;
}

struct Result {
  Floats y, last_hidden, last_memory, gates, memories, dx, dhidden, dmemory, dkernels[2], drecurrents[2], dbiases[2];
};

Result run(const Case& given) {
  const Shape& shape = given.shape;
  const bool is_lstm = shape.cell == Cell::kLstm;
  const Index states = shape.directions * shape.batch * shape.units, steps = states * shape.steps;
  const float nothing = std::nanf("");
  Result found;
  found.y.assign(steps, nothing), found.last_hidden.assign(states, nothing);
  found.last_memory.assign(is_lstm ? states : 0, nothing);
  found.gates.assign(shape.directions * shape.batch * shape.steps * shape.saved(), nothing);
  found.memories.assign(is_lstm ? steps : 0, nothing);
  found.dx.assign(given.inputs.size(), nothing);
  found.dhidden.assign(states, nothing), found.dmemory.assign(is_lstm ? states : 0, nothing);
  Weights weights{};
  Gradients gradients{};
  for (Index d = 0; d < shape.directions; d++) {
    weights.kernels[d] = given.kernels[d].data(), weights.recurrents[d] = given.recurrents[d].data();
    weights.biases[d] = given.biases[d].data();
    found.dkernels[d].assign(given.kernels[d].size(), nothing);
    found.drecurrents[d].assign(given.recurrents[d].size(), nothing);
    found.dbiases[d].assign(given.biases[d].size(), nothing);
    gradients.kernels[d] = found.dkernels[d].data(), gradients.recurrents[d] = found.drecurrents[d].data();
    gradients.biases[d] = found.dbiases[d].data();
  }
  const State state{given.inputs.data(), given.lengths.data(), given.has_state ? given.hidden.data() : nullptr,
                    given.has_state && is_lstm ? given.memory.data() : nullptr,
                    given.has_masks ? given.masks.data() : nullptr};
  const Outputs outputs{found.y.data(), found.last_hidden.data(), found.last_memory.data(), found.gates.data(),
                        is_lstm ? found.memories.data() : nullptr};
  run_forward(shape, state, *pack(shape, weights, given.has_masks), outputs);
  gradients.outputs = given.dy.data();
  gradients.last_hidden = given.dhidden.data(), gradients.last_memory = given.dmemory.data();
  gradients.inputs = found.dx.data();
  gradients.hidden = given.has_state ? found.dhidden.data() : nullptr;
  gradients.memory = given.has_state && is_lstm ? found.dmemory.data() : nullptr;
  if (!given.has_state) found.dhidden.clear();
  if (!gradients.memory) found.dmemory.clear();
  run_backward(shape, state, weights, outputs, gradients);
  return found;
}

double activate(Activation activation, double x) {
  if (activation == Activation::kTanh) return std::tanh(x);
  if (activation == Activation::kSigmoid) return 1 / (1 + std::exp(-x));
  return x > 0 ? x : 0;
}

// The loss: the sum of all outputs times their gradients, for weights and inputs that are moved along a direction.
// Its derivative along the direction, by differences, must be what the gradients say.
struct Moved {
  Doubles inputs, hidden, memory, kernels[2], recurrents[2], biases[2];
};

Doubles moved(const Floats& from, const Floats& along, double by) {
  Doubles found(from.begin(), from.end());
  for (std::size_t i = 0; i < found.size(); i++) found[i] += by * along[i];
  return found;
}

double loss(const Case& given, const Moved& at, Doubles* y) {
  const Shape& shape = given.shape;
  const Index units = shape.units, gates = shape.gates(), columns = gates * units;
  double total = 0;
  for (Index d = 0; d < shape.directions; d++)
    for (Index b = 0; b < shape.batch; b++) {
      const Index row = (d * shape.batch + b) * units;
      Doubles h(units), c(units);
      if (given.has_state) {
        h.assign(at.hidden.begin() + row, at.hidden.begin() + row + units);
        c.assign(at.memory.begin() + row, at.memory.begin() + row + units);
      }
      for (Index s = 0; s < given.lengths[b]; s++) {
        const Index t = d ? given.lengths[b] - 1 - s : s, place = b * shape.steps + t;
        Doubles of_input(columns), of_hidden(columns);
        for (Index j = 0; j < columns; j++) {
          const Index gate = j / units;
          of_input[j] = at.biases[d][j];
          of_hidden[j] = shape.cell == Cell::kGru ? at.biases[d][columns + j] : 0;
          for (Index k = 0; k < shape.width; k++)
            of_input[j] += at.inputs[place * shape.width + k] * at.kernels[d][k * columns + j];
          for (Index k = 0; k < units; k++) {
            const double mask =
                given.has_masks ? given.masks[((d * gates + gate) * shape.batch + b) * units + k] : 1.0;
            of_hidden[j] += h[k] * mask * at.recurrents[d][k * columns + j];
          }
        }
        for (Index u = 0; u < units; u++) {
          const auto sum = [&](Index gate) { return of_input[gate * units + u] + of_hidden[gate * units + u]; };
          const auto sigmoid = [](double x) { return activate(Activation::kSigmoid, x); };
          if (shape.cell == Cell::kSimple) {
            h[u] = activate(shape.activation, sum(0));
          } else if (shape.cell == Cell::kGru) {
            const double update = sigmoid(sum(0)), reset = sigmoid(sum(1));
            h[u] = update * h[u] + (1 - update) * activate(shape.activation, of_input[2 * units + u] +
                                                                                 reset * of_hidden[2 * units + u]);
          } else {
            c[u] = sigmoid(sum(1)) * c[u] + sigmoid(sum(0)) * activate(shape.activation, sum(2));
            h[u] = sigmoid(sum(3)) * activate(shape.activation, c[u]);
          }
          const Index out = (place * shape.directions + d) * units + u;
          total += h[u] * given.dy[out];
          if (y) (*y)[out] = h[u];
        }
      }
      for (Index u = 0; u < units; u++) {
        total += h[u] * given.dhidden[row + u];
        if (shape.cell == Cell::kLstm) total += c[u] * given.dmemory[row + u];
      }
    }
  return total;
}

double dot(const Floats& a, const Floats& b) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); i++) total += static_cast<double>(a[i]) * b[i];
  return total;
}

bool is_right(const Case& given, const Result& found) {
  const Shape& shape = given.shape;
  Case along = given;
  along.inputs = random(static_cast<Index>(given.inputs.size()), 1);
  along.hidden = random(static_cast<Index>(given.hidden.size()), 1);
  along.memory = random(static_cast<Index>(given.memory.size()), 1);
  double expected = dot(found.dx, along.inputs) + (given.has_state ? dot(found.dhidden, along.hidden) : 0) +
                    dot(found.dmemory, along.memory);
  for (Index d = 0; d < shape.directions; d++) {
    along.kernels[d] = random(static_cast<Index>(given.kernels[d].size()), 1);
    along.recurrents[d] = random(static_cast<Index>(given.recurrents[d].size()), 1);
    along.biases[d] = random(static_cast<Index>(given.biases[d].size()), 1);
    expected += dot(found.dkernels[d], along.kernels[d]) + dot(found.drecurrents[d], along.recurrents[d]) +
                dot(found.dbiases[d], along.biases[d]);
  }
  const auto at = [&](double by) {
    Moved place;
    place.inputs = moved(given.inputs, along.inputs, by);
    place.hidden = moved(given.hidden, along.hidden, by), place.memory = moved(given.memory, along.memory, by);
    for (Index d = 0; d < shape.directions; d++) {
      place.kernels[d] = moved(given.kernels[d], along.kernels[d], by);
      place.recurrents[d] = moved(given.recurrents[d], along.recurrents[d], by);
      place.biases[d] = moved(given.biases[d], along.biases[d], by);
    }
    return place;
  };
  Doubles y(found.y.size());
  loss(given, at(0), &y);
  double worst = 0;
  for (std::size_t i = 0; i < y.size(); i++) {
    const double error = std::fabs(y[i] - found.y[i]);
    if (!(error <= 1e-4 * (1 + std::fabs(y[i])))) return std::printf("output %zu: %g, not %g\n", i, found.y[i], y[i]), false;
    worst = std::max(worst, error);
  }
  const double step = 1e-6, slope = (loss(given, at(step), nullptr) - loss(given, at(-step), nullptr)) / (2 * step);
  const double scale = 1 + std::fabs(slope);
  if (std::fabs(slope - expected) <= 2e-3 * scale) return true;
  if (shape.activation == Activation::kRelu) {  // it may have a corner within the step
    const double smaller = step / 100, again = (loss(given, at(smaller), nullptr) - loss(given, at(-smaller), nullptr)) / (2 * smaller);
    if (std::fabs(again - expected) <= 1e-2 * scale) return true;
  }
  std::printf("gradient along a direction: %g, not %g\n", expected, slope);
  return false;
}

bool same(const Floats& a, const Floats& b) { return !a.size() || !std::memcmp(a.data(), b.data(), a.size() * 4); }

bool same(const Result& a, const Result& b, Index directions) {
  bool is_same = same(a.y, b.y) && same(a.last_hidden, b.last_hidden) && same(a.last_memory, b.last_memory) &&
                 same(a.dx, b.dx) && same(a.dhidden, b.dhidden) && same(a.dmemory, b.dmemory);
  for (Index d = 0; d < directions; d++)
    is_same = is_same && same(a.dkernels[d], b.dkernels[d]) && same(a.drecurrents[d], b.drecurrents[d]) &&
              same(a.dbiases[d], b.dbiases[d]);
  return is_same;
}

}  // namespace

int main() {
  int wrong = 0;
  for (const char* name : {"avx512", "avx2", "baseline"}) {
    if (!choose_kernels(name)) {
      std::printf("%s: not on this machine\n", name);
      continue;
    }
    int cases = 0;
    for (int number = 0; number < 90; number++, cases++) {
      Case given = random_case(number);
      if (number % 30 == 29) given = [&] {  // enough work for several threads
        Case large = random_case(number);
        do large = random_case(number);
        while (large.shape.batch < 14 || large.shape.units < 30 || large.shape.width < 30 || large.shape.steps < 7);
        for (auto& length : large.lengths) length = static_cast<int>(large.shape.steps);
        return large;
      }();
      set_threads(1);
      const Result alone = run(given);
      bool is_good = is_right(given, alone);
      for (Index count : {2, 3, 8}) {
        set_threads(count);
        if (same(alone, run(given), given.shape.directions)) continue;
        std::printf("other bits with %d threads\n", static_cast<int>(count));
        is_good = false;
      }
      if (is_good) continue;
      wrong++;
      const Shape& shape = given.shape;
      std::printf("%s: wrong: case %d, cell %d, activation %d, %d directions, %d rows, %d steps, width %d, %d units\n",
                  name, number, static_cast<int>(shape.cell), static_cast<int>(shape.activation),
                  static_cast<int>(shape.directions), static_cast<int>(shape.batch), static_cast<int>(shape.steps),
                  static_cast<int>(shape.width), static_cast<int>(shape.units));
    }
    std::printf("%s: %d cases\n", name, cases);
  }
  std::printf("%d wrong\n", wrong);
  return wrong ? 1 : 0;
}
