// Products and gates of one instruction set. Compiled with -DTEXTRNN_ISA=avx512, avx2 or baseline and the options
// of the compiler for it. Nothing here may come from a template of the standard library: its code would be shared
// with the other instruction sets.
#include "kernels.h"

#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

inline Vector read(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void write(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
inline Vector all(float value) { return value - Vector{}; }

// A vector of a row of a tensor, and what remains of a row behind the last whole vector.
struct Whole {
  Vector load(const float* from) const { return read(from); }
  void store(float* to, Vector value) const { write(to, value); }
};
struct Rest {
  Index count;
  Vector load(const float* from) const {
    float copy[kLanes] = {};
    std::memcpy(copy, from, count * sizeof(float));
    return read(copy);
  }
  void store(float* to, Vector value) const {
    float copy[kLanes];
    write(copy, value);
    std::memcpy(to, copy, count * sizeof(float));
  }
};
// Calls take(unit, Whole or Rest) for all units.
template <class Take>
inline void for_units(Index units, const Take& take) {
  Index u = 0;
  for (; u + kLanes <= units; u += kLanes) take(u, Whole{});
  if (u < units) take(u, Rest{units - u});
}

// The minimum and the maximum of a limit and x. What is not a number stays so: x is the second operand.
inline Vector at_most(Vector limit, Vector x) {
#if defined(__AVX512F__)
  return _mm512_min_ps(limit, x);
#elif defined(__AVX2__)
  return _mm256_min_ps(limit, x);
#elif defined(__x86_64__)
  return _mm_min_ps(limit, x);
#else
  return limit < x ? limit : x;
#endif
}
inline Vector at_least(Vector limit, Vector x) {
#if defined(__AVX512F__)
  return _mm512_max_ps(limit, x);
#elif defined(__AVX2__)
  return _mm256_max_ps(limit, x);
#elif defined(__x86_64__)
  return _mm_max_ps(limit, x);
#else
  return limit > x ? limit : x;
#endif
}

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
        b[p * kVectors + v] = read(columns + p * piece.panel_stride + v * kLanes);
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
      sums[r][v] = start ? read(start + r * pass.start_stride + v * kLanes) : Vector{};
  for (const Piece& whole : pass.pieces) {
    if (!whole.depth) continue;
    Piece piece = whole;
    piece.rows += row * piece.stride;
    piece.panels += panel * piece.panel_stride;
    add_piece<M, P>(sums, piece);
  }
  float* out = pass.out + row * pass.out_stride + column;
  UNROLL for (int r = 0; r < M; r++)
    UNROLL for (int v = 0; v < P * kVectors; v++) write(out + r * pass.out_stride + v * kLanes, sums[r][v]);
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

constexpr Index kLine = 16;  // numbers of a line of the cache

// Rows and columns that the next tiles read. The rows of a strip are short: the machine does not see them coming.
inline void prefetch_strip(const Pass& pass, Index row, Index height) {
  for (const Piece& piece : pass.pieces)
    for (Index r = row; r < row + height; r++)
      for (Index k = 0; k < piece.depth; k += kLine) __builtin_prefetch(piece.rows + r * piece.stride + k);
}
inline void prefetch_panel(const Pass& pass, Index panel, Index part, Index parts) {
  for (const Piece& piece : pass.pieces) {
    const Index size = piece.depth * kWidth;
    const float* columns = piece.panels + panel * piece.panel_stride;
    for (Index k = size * part / parts; k < size * (part + 1) / parts; k += kLine) __builtin_prefetch(columns + k);
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
      prefetch_strip(pass, i + 1 < strips ? row + own : 0, own);
      if (panel + 1 < panels) prefetch_panel(pass, panel + 1, i, strips);
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
        UNROLL for (int v = 0; v < kVectors; v++) sums[r][v] = read(out + r * kWidth + v * kLanes);
      for (Index k = first; k < last; k++, a += kHeight, b += kWidth) {
        Vector column[kVectors];
        UNROLL for (int v = 0; v < kVectors; v++) column[v] = read(b + v * kLanes);
        UNROLL for (int r = 0; r < kHeight; r++) {
          const Vector x = all(a[r]);
          UNROLL for (int v = 0; v < kVectors; v++) sums[r][v] += x * column[v];
        }
      }
      UNROLL for (int r = 0; r < kHeight; r++)
        UNROLL for (int v = 0; v < kVectors; v++) write(out + r * kWidth + v * kLanes, sums[r][v]);
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
  UNROLL for (int v = 0; v < kVectors; v++) total[v] = read(sums + v * kLanes);
  for (Index k = 0; k < count; k++, rows += stride, panel += kWidth)
    UNROLL for (int v = 0; v < kVectors; v++) {
      const Vector value = read(rows + v * kLanes);
      write(panel + v * kLanes, value);
      total[v] += value;
    }
  UNROLL for (int v = 0; v < kVectors; v++) write(sums + v * kLanes, total[v]);
}

// ---- gates, forwards

template <Activation A>
void forward_simple(const ForwardStep& step) {
  for (Index r = 0; r < step.rows; r++) {
    const float* sums = step.sums + r * step.sums_stride + step.offsets[0];
    float* next = step.next_hidden + r * step.state_stride;
    for_units(step.units, [&](Index u, auto at) {
      const Vector h = activate<A>(read(sums + u));
      write(next + u, h);
      at.store(step.outputs[r] + u, h);
    });
  }
}

template <Activation A>
void forward_gru(const ForwardStep& step) {
  const Index* offsets = step.offsets;
  for (Index r = 0; r < step.rows; r++) {
    const float* sums = step.sums + r * step.sums_stride;
    const float* before = step.hidden + r * step.state_stride;
    float* next = step.next_hidden + r * step.state_stride;
    for_units(step.units, [&](Index u, auto at) {
      const Vector update = sigmoid_of(read(sums + offsets[0] + u));
      const Vector reset = sigmoid_of(read(sums + offsets[1] + u));
      const Vector recurrent = read(sums + offsets[3] + u);
      const Vector candidate = activate<A>(read(sums + offsets[2] + u) + reset * recurrent);
      const Vector h = update * read(before + u) + (1.0f - update) * candidate;
      write(next + u, h);
      at.store(step.outputs[r] + u, h);
      if (!step.gates) return;
      float* gates = step.gates[r] + u;
      at.store(gates, update);
      at.store(gates + step.units, reset);
      at.store(gates + 2 * step.units, candidate);
      at.store(gates + 3 * step.units, recurrent);
    });
  }
}

template <Activation A>
void forward_lstm(const ForwardStep& step) {
  const Index* offsets = step.offsets;
  for (Index r = 0; r < step.rows; r++) {
    const float* sums = step.sums + r * step.sums_stride;
    float* next = step.next_hidden + r * step.state_stride;
    float* memory = step.memory + r * step.state_stride;
    for_units(step.units, [&](Index u, auto at) {
      const Vector input = sigmoid_of(read(sums + offsets[0] + u));
      const Vector forget = sigmoid_of(read(sums + offsets[1] + u));
      const Vector candidate = activate<A>(read(sums + offsets[2] + u));
      const Vector output = sigmoid_of(read(sums + offsets[3] + u));
      const Vector c = forget * read(memory + u) + input * candidate;
      const Vector h = output * activate<A>(c);
      write(memory + u, c);
      write(next + u, h);
      at.store(step.outputs[r] + u, h);
      if (!step.gates) return;
      float* gates = step.gates[r] + u;
      at.store(gates, input);
      at.store(gates + step.units, forget);
      at.store(gates + 2 * step.units, candidate);
      at.store(gates + 3 * step.units, output);
      at.store(step.memories[r] + u, c);
    });
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
  for (Index r = 0; r < step.rows; r++) {
    const float *outputs = step.outputs[r], *of_output = step.output_gradients[r];
    const float* gradient = step.hidden_gradient + r * step.state_stride;
    float* sums = step.input_sums + r * step.sums_stride;
    for_units(step.units, [&](Index u, auto at) {
      at.store(sums + u, (read(gradient + u) + at.load(of_output + u)) * slope<A>(at.load(outputs + u)));
    });
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
    for_units(step.units, [&](Index u, auto at) {
      const Vector update = at.load(gates + u), reset = at.load(gates + units + u);
      const Vector candidate = at.load(gates + 2 * units + u), recurrent = at.load(gates + 3 * units + u);
      const Vector h = before ? at.load(before + u) : Vector{};
      const Vector dh = read(gradient + u) + at.load(step.output_gradients[r] + u);
      const Vector dupdate = dh * (h - candidate) * update * (1.0f - update);
      const Vector dcandidate = dh * (1.0f - update) * slope<A>(candidate);
      const Vector dreset = dcandidate * recurrent * reset * (1.0f - reset);
      write(gradient + u, dh * update);
      at.store(input_sums + u, dupdate);
      at.store(input_sums + units + u, dreset);
      at.store(input_sums + 2 * units + u, dcandidate);
      at.store(recurrent_sums + u, dupdate);
      at.store(recurrent_sums + units + u, dreset);
      at.store(recurrent_sums + 2 * units + u, dcandidate * reset);
    });
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
    for_units(step.units, [&](Index u, auto at) {
      const Vector input = at.load(gates + u), forget = at.load(gates + units + u);
      const Vector candidate = at.load(gates + 2 * units + u), output = at.load(gates + 3 * units + u);
      const Vector active = activate<A>(at.load(step.memories[r] + u));
      const Vector before = memory_before ? at.load(memory_before + u) : Vector{};
      const Vector dh = read(gradient + u) + at.load(step.output_gradients[r] + u);
      const Vector dc = read(memory_gradient + u) + dh * output * slope<A>(active);
      write(memory_gradient + u, dc * forget);
      at.store(sums + u, dc * candidate * input * (1.0f - input));
      at.store(sums + units + u, dc * before * forget * (1.0f - forget));
      at.store(sums + 2 * units + u, dc * input * slope<A>(candidate));
      at.store(sums + 3 * units + u, dh * active * output * (1.0f - output));
    });
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
