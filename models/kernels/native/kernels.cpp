// Products and gates of one instruction set. Compiled with -DTEXTRNN_ISA=avx512, avx2 or baseline and the options
// of the compiler for it. Nothing here may come from a template of the standard library: its code would be shared
// with the other instruction sets.
#include "kernels.h"

#include <cstring>

#define TEXTRNN_JOIN(a, b) a##b
#define TEXTRNN_NAME(a, b) TEXTRNN_JOIN(a, b)
#define TEXTRNN_TEXT(a) #a
#define TEXTRNN_STRING(a) TEXTRNN_TEXT(a)
#define UNROLL _Pragma("GCC unroll 16")

namespace textrnn {
namespace {

// A tile of kHeight rows and kVectors vectors has kHeight * kVectors sums in registers, beside the columns and one
// number of a row. There are 32 registers in AVX-512 and on ARM, else 16.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kHeight = 8, kVectors = 2;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kHeight = 6, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kHeight = 6, kVectors = 4;
#else
constexpr int kLanes = 4, kHeight = 6, kVectors = 2;
#endif
constexpr int kWidth = kLanes * kVectors;
constexpr Index kDepth = 256;  // of a panel that stays in the first cache

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef float Unaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
inline Vector all(float value) { return value - Vector{}; }

// The numbers of a tensor, which ends after `count` of them.
inline Vector load(const float* from, Index count) {
  if (count >= kLanes) return load(from);
  float copy[kLanes] = {};
  std::memcpy(copy, from, count * sizeof(float));
  return load(copy);
}
inline void store(float* to, Vector value, Index count) {
  if (count >= kLanes) return store(to, value);
  float copy[kLanes];
  store(copy, value);
  std::memcpy(to, copy, count * sizeof(float));
}

// The limits come first, so that what is not a number stays so.
inline Vector at_most(Vector limit, Vector x) { return limit < x ? limit : x; }
inline Vector at_least(Vector limit, Vector x) { return limit > x ? limit : x; }

// A rational approximation, as in Eigen: x P(x²) / Q(x²).
inline Vector tanh_of(Vector x) {
  x = at_least(all(-7.90531110763549805f), at_most(all(7.90531110763549805f), x));
  const Vector s = x * x;
  Vector p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vector q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p / q;
}
inline Vector sigmoid_of(Vector x) { return tanh_of(x * 0.5f) * 0.5f + 0.5f; }

template <Activation A>
inline Vector activate(Vector x) {
  if (A == Activation::kTanh) return tanh_of(x);
  if (A == Activation::kSigmoid) return sigmoid_of(x);
  return at_least(Vector{}, x);
}
// The derivative, from the result y.
template <Activation A>
inline Vector slope(Vector y) {
  if (A == Activation::kTanh) return 1.0f - y * y;
  if (A == Activation::kSigmoid) return y * (1.0f - y);
  return y > Vector{} ? all(1.0f) : Vector{};
}

// ---- products

struct Piece {
  const float* rows;
  Index stride;
  const float* panels;
  Index panel_stride;
  Index depth;
};

template <int M, int P>
inline __attribute__((always_inline)) void add_piece(Vector (&sums)[M][P * kVectors], const Piece& piece) {
  const float* columns = piece.panels;
  for (Index k = 0; k < piece.depth; k++, columns += kWidth) {
    Vector b[P * kVectors];
    UNROLL for (int p = 0; p < P; p++)
      UNROLL for (int v = 0; v < kVectors; v++)
        b[p * kVectors + v] = load(columns + p * piece.panel_stride + v * kLanes);
    UNROLL for (int r = 0; r < M; r++) {
      const Vector a = all(piece.rows[r * piece.stride + k]);
      UNROLL for (int v = 0; v < P * kVectors; v++) sums[r][v] += a * b[v];
    }
  }
}

struct Pass {
  Piece pieces[2];
  const float* start;
  Index start_stride;
  float* out;
  Index out_stride;
};

// M rows from `row`, P panels from `panel`.
template <int M, int P>
inline __attribute__((always_inline)) void tile(const Pass& pass, Index row, Index panel) {
  Vector sums[M][P * kVectors];
  const Index column = panel * kWidth;
  const float* start = pass.start ? pass.start + row * pass.start_stride + column : nullptr;
  UNROLL for (int r = 0; r < M; r++)
    UNROLL for (int v = 0; v < P * kVectors; v++)
      sums[r][v] = start ? load(start + r * pass.start_stride + v * kLanes) : Vector{};
  for (const Piece& whole : pass.pieces) {
    if (!whole.depth) continue;
    Piece piece = whole;
    piece.rows += row * piece.stride;
    piece.panels += panel * piece.panel_stride;
    add_piece<M, P>(sums, piece);
  }
  float* out = pass.out + row * pass.out_stride + column;
  UNROLL for (int r = 0; r < M; r++)
    UNROLL for (int v = 0; v < P * kVectors; v++) store(out + r * pass.out_stride + v * kLanes, sums[r][v]);
}

// Few rows: several panels at once, since a sum must wait for the one before it.
template <int M, int P>
void few_rows(const Pass& pass, Index panels) {
  Index panel = 0;
  for (; panel + P <= panels; panel += P) tile<M, P>(pass, 0, panel);
  for (; panel < panels; panel++) tile<M, 1>(pass, 0, panel);
}

inline void strip(const Pass& pass, Index row, Index height, Index panel) {
  switch (height) {
    case 1: return tile<1, 1>(pass, row, panel);
    case 2: return tile<2, 1>(pass, row, panel);
    case 3: return tile<3, 1>(pass, row, panel);
    case 4: return tile<4, 1>(pass, row, panel);
    case 5: return tile<5, 1>(pass, row, panel);
    case 6: return tile<6, 1>(pass, row, panel);
#if defined(__AVX512F__)
    case 7: return tile<7, 1>(pass, row, panel);
    case 8: return tile<8, 1>(pass, row, panel);
#endif
  }
}

void run(const Pass& pass, Index rows, Index panels) {
  if (rows == 1) return few_rows<1, 8 / kVectors>(pass, panels);
  if (rows == 2) return few_rows<2, 4 / kVectors>(pass, panels);
  // Strips of nearly the same height: a low one would wait for its sums.
  const Index strips = (rows + kHeight - 1) / kHeight;
  const Index height = rows / strips, higher = rows % strips;
  for (Index panel = 0; panel < panels; panel++) {
    Index row = 0;
    for (Index i = 0; i < strips; i++) {
      const Index own = height + (i < higher);
      strip(pass, row, own, panel);
      row += own;
    }
  }
}

void multiply(const Product& product) {
  if (!product.rows) return;
  Index done[2] = {0, 0};
  const float* start = product.start;
  Index start_stride = product.start_stride;
  do {
    Pass pass{{}, start, start_stride, product.out, product.out_stride};
    Index left = kDepth;
    for (int i = 0; i < 2; i++) {
      const Factor& factor = product.factors[i];
      const Index rest = factor.depth - done[i];
      const Index depth = rest < left ? rest : left;
      pass.pieces[i] = {factor.rows + done[i], factor.stride, factor.panels + done[i] * kWidth,
                        factor.depth * kWidth, depth};
      done[i] += depth;
      left -= depth;
    }
    run(pass, product.rows, product.panels);
    start = product.out;
    start_stride = product.out_stride;
  } while (done[0] < product.factors[0].depth || done[1] < product.factors[1].depth);
}

void multiply_weights(const WeightProduct& product) {
  for (Index first = 0; first < product.depth; first += kDepth) {
    const Index last = first + kDepth < product.depth ? first + kDepth : product.depth;
    for (Index s = 0; s < product.strips_count; s++) {
      const float* a = product.strips + s * product.strip_stride + first * kHeight;
      const float* b = product.columns + first * kWidth;
      float* out = product.out + s * kHeight * kWidth;
      Vector sums[kHeight][kVectors];
      UNROLL for (int r = 0; r < kHeight; r++)
        UNROLL for (int v = 0; v < kVectors; v++) sums[r][v] = load(out + r * kWidth + v * kLanes);
      for (Index k = first; k < last; k++, a += kHeight, b += kWidth) {
        Vector column[kVectors];
        UNROLL for (int v = 0; v < kVectors; v++) column[v] = load(b + v * kLanes);
        UNROLL for (int r = 0; r < kHeight; r++) {
          const Vector x = all(a[r]);
          UNROLL for (int v = 0; v < kVectors; v++) sums[r][v] += x * column[v];
        }
      }
      UNROLL for (int r = 0; r < kHeight; r++)
        UNROLL for (int v = 0; v < kVectors; v++) store(out + r * kWidth + v * kLanes, sums[r][v]);
    }
  }
}

void add_to_strips(const float* row, Index size, float* strips, Index strip_stride, Index position) {
  float* to = strips + position * kHeight;
  for (; size >= kHeight; size -= kHeight, row += kHeight, to += strip_stride)
    std::memcpy(to, row, kHeight * sizeof(float));
  if (!size) return;
  std::memset(to, 0, kHeight * sizeof(float));
  std::memcpy(to, row, size * sizeof(float));
}

void take_panel(const float* rows, Index stride, Index count, float* panel, float* sums) {
  Vector total[kVectors];
  UNROLL for (int v = 0; v < kVectors; v++) total[v] = load(sums + v * kLanes);
  for (Index k = 0; k < count; k++, rows += stride, panel += kWidth)
    UNROLL for (int v = 0; v < kVectors; v++) {
      const Vector value = load(rows + v * kLanes);
      store(panel + v * kLanes, value);
      total[v] += value;
    }
  UNROLL for (int v = 0; v < kVectors; v++) store(sums + v * kLanes, total[v]);
}

// ---- gates, forwards

template <Activation A>
void forward_simple(const ForwardStep& step) {
  for (Index r = 0; r < step.rows; r++) {
    const float* sums = step.sums + r * step.sums_stride + step.offsets[0];
    float* next = step.next_hidden + r * step.state_stride;
    for (Index u = 0; u < step.units; u += kLanes) {
      const Vector h = activate<A>(load(sums + u));
      store(next + u, h);
      store(step.outputs[r] + u, h, step.units - u);
    }
  }
}

template <Activation A>
void forward_gru(const ForwardStep& step) {
  const Index* at = step.offsets;
  for (Index r = 0; r < step.rows; r++) {
    const float* sums = step.sums + r * step.sums_stride;
    const float* before = step.hidden + r * step.state_stride;
    float* next = step.next_hidden + r * step.state_stride;
    for (Index u = 0; u < step.units; u += kLanes) {
      const Vector update = sigmoid_of(load(sums + at[0] + u));
      const Vector reset = sigmoid_of(load(sums + at[1] + u));
      const Vector recurrent = load(sums + at[3] + u);
      const Vector candidate = activate<A>(load(sums + at[2] + u) + reset * recurrent);
      const Vector h = update * load(before + u) + (1.0f - update) * candidate;
      const Index left = step.units - u;
      store(next + u, h);
      store(step.outputs[r] + u, h, left);
      if (!step.gates) continue;
      float* gates = step.gates[r] + u;
      store(gates, update, left);
      store(gates + step.units, reset, left);
      store(gates + 2 * step.units, candidate, left);
      store(gates + 3 * step.units, recurrent, left);
    }
  }
}

template <Activation A>
void forward_lstm(const ForwardStep& step) {
  const Index* at = step.offsets;
  for (Index r = 0; r < step.rows; r++) {
    const float* sums = step.sums + r * step.sums_stride;
    float* next = step.next_hidden + r * step.state_stride;
    float* memory = step.memory + r * step.state_stride;
    for (Index u = 0; u < step.units; u += kLanes) {
      const Vector input = sigmoid_of(load(sums + at[0] + u));
      const Vector forget = sigmoid_of(load(sums + at[1] + u));
      const Vector candidate = activate<A>(load(sums + at[2] + u));
      const Vector output = sigmoid_of(load(sums + at[3] + u));
      const Vector c = forget * load(memory + u) + input * candidate;
      const Vector h = output * activate<A>(c);
      const Index left = step.units - u;
      store(memory + u, c);
      store(next + u, h);
      store(step.outputs[r] + u, h, left);
      if (!step.gates) continue;
      float* gates = step.gates[r] + u;
      store(gates, input, left);
      store(gates + step.units, forget, left);
      store(gates + 2 * step.units, candidate, left);
      store(gates + 3 * step.units, output, left);
      store(step.memories[r] + u, c, left);
    }
  }
}

template <Activation A>
void forward(Cell cell, const ForwardStep& step) {
  if (cell == Cell::kSimple) return forward_simple<A>(step);
  if (cell == Cell::kGru) return forward_gru<A>(step);
  return forward_lstm<A>(step);
}

void forward(Cell cell, const ForwardStep& step) {
  if (step.activation == Activation::kTanh) return forward<Activation::kTanh>(cell, step);
  if (step.activation == Activation::kSigmoid) return forward<Activation::kSigmoid>(cell, step);
  return forward<Activation::kRelu>(cell, step);
}

// ---- gates, backwards

template <Activation A>
void backward_simple(const BackwardStep& step) {
  for (Index r = 0; r < step.rows; r++)
    for (Index u = 0; u < step.units; u += kLanes) {
      const Index left = step.units - u;
      const Vector dh = load(step.hidden_gradient + r * step.state_stride + u) +
                        load(step.output_gradients[r] + u, left);
      store(step.input_sums + r * step.sums_stride + u, dh * slope<A>(load(step.outputs[r] + u, left)), left);
    }
}

template <Activation A>
void backward_gru(const BackwardStep& step) {
  const Index units = step.units;
  for (Index r = 0; r < step.rows; r++) {
    const float* gates = step.gates[r];
    const float* before = step.hidden_before[r];
    float* gradient = step.hidden_gradient + r * step.state_stride;
    float* input_sums = step.input_sums + r * step.sums_stride;
    float* recurrent_sums = step.recurrent_sums + r * step.sums_stride;
    for (Index u = 0; u < units; u += kLanes) {
      const Index left = units - u;
      const Vector update = load(gates + u, left), reset = load(gates + units + u, left);
      const Vector candidate = load(gates + 2 * units + u, left), recurrent = load(gates + 3 * units + u, left);
      const Vector h = before ? load(before + u, left) : Vector{};
      const Vector dh = load(gradient + u) + load(step.output_gradients[r] + u, left);
      const Vector dupdate = dh * (h - candidate) * update * (1.0f - update);
      const Vector dcandidate = dh * (1.0f - update) * slope<A>(candidate);
      const Vector dreset = dcandidate * recurrent * reset * (1.0f - reset);
      store(gradient + u, dh * update);
      store(input_sums + u, dupdate, left);
      store(input_sums + units + u, dreset, left);
      store(input_sums + 2 * units + u, dcandidate, left);
      store(recurrent_sums + u, dupdate, left);
      store(recurrent_sums + units + u, dreset, left);
      store(recurrent_sums + 2 * units + u, dcandidate * reset, left);
    }
  }
}

template <Activation A>
void backward_lstm(const BackwardStep& step) {
  const Index units = step.units;
  for (Index r = 0; r < step.rows; r++) {
    const float* gates = step.gates[r];
    const float* memory_before = step.memories_before[r];
    const float* gradient = step.hidden_gradient + r * step.state_stride;
    float* memory_gradient = step.memory_gradient + r * step.state_stride;
    float* sums = step.input_sums + r * step.sums_stride;
    for (Index u = 0; u < units; u += kLanes) {
      const Index left = units - u;
      const Vector input = load(gates + u, left), forget = load(gates + units + u, left);
      const Vector candidate = load(gates + 2 * units + u, left), output = load(gates + 3 * units + u, left);
      const Vector active = activate<A>(load(step.memories[r] + u, left));
      const Vector before = memory_before ? load(memory_before + u, left) : Vector{};
      const Vector dh = load(gradient + u) + load(step.output_gradients[r] + u, left);
      const Vector dc = load(memory_gradient + u) + dh * output * slope<A>(active);
      store(memory_gradient + u, dc * forget);
      store(sums + u, dc * candidate * input * (1.0f - input), left);
      store(sums + units + u, dc * before * forget * (1.0f - forget), left);
      store(sums + 2 * units + u, dc * input * slope<A>(candidate), left);
      store(sums + 3 * units + u, dh * active * output * (1.0f - output), left);
    }
  }
}

template <Activation A>
void backward(Cell cell, const BackwardStep& step) {
  if (cell == Cell::kSimple) return backward_simple<A>(step);
  if (cell == Cell::kGru) return backward_gru<A>(step);
  return backward_lstm<A>(step);
}

void backward(Cell cell, const BackwardStep& step) {
  if (step.activation == Activation::kTanh) return backward<Activation::kTanh>(cell, step);
  if (step.activation == Activation::kSigmoid) return backward<Activation::kSigmoid>(cell, step);
  return backward<Activation::kRelu>(cell, step);
}

}  // namespace

const Kernels& TEXTRNN_NAME(kernels_, TEXTRNN_ISA)() {
  static const Kernels kernels{TEXTRNN_STRING(TEXTRNN_ISA), kWidth,        kHeight,    kLanes,  multiply,
                               multiply_weights,            add_to_strips, take_panel, forward, backward};
  return kernels;
}

}  // namespace textrnn
