// The operations of TensorFlow, through its C API for kernels. The functions are declared here: they are a stable
// interface, so that one library serves several versions of TensorFlow.
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "pool.h"
#include "recurrent.h"

#define TEXTRNN_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" {
struct TF_Status;
struct TF_Tensor;
struct TF_OpDefinitionBuilder;
struct TF_KernelBuilder;
struct TF_OpKernelConstruction;
struct TF_OpKernelContext;
struct TF_ShapeInferenceContext;

TF_Status* TF_NewStatus();
void TF_DeleteStatus(TF_Status*);
int TF_GetCode(const TF_Status*);
const char* TF_Message(const TF_Status*);
void TF_SetStatus(TF_Status*, int, const char*);

TF_OpDefinitionBuilder* TF_NewOpDefinitionBuilder(const char*);
void TF_OpDefinitionBuilderAddInput(TF_OpDefinitionBuilder*, const char*);
void TF_OpDefinitionBuilderAddOutput(TF_OpDefinitionBuilder*, const char*);
void TF_OpDefinitionBuilderAddAttr(TF_OpDefinitionBuilder*, const char*);
void TF_OpDefinitionBuilderSetShapeInferenceFunction(TF_OpDefinitionBuilder*,
                                                     void (*)(TF_ShapeInferenceContext*, TF_Status*));
void TF_RegisterOpDefinition(TF_OpDefinitionBuilder*, TF_Status*);

void TF_ShapeInferenceContextSetUnknownShape(TF_ShapeInferenceContext*, TF_Status*);

TF_KernelBuilder* TF_NewKernelBuilder(const char*, const char*, void* (*)(TF_OpKernelConstruction*),
                                      void (*)(void*, TF_OpKernelContext*), void (*)(void*));
void TF_RegisterKernelBuilder(const char*, TF_KernelBuilder*, TF_Status*);
void TF_OpKernelConstruction_GetAttrInt32(TF_OpKernelConstruction*, const char*, std::int32_t*, TF_Status*);
void TF_OpKernelConstruction_GetAttrBool(TF_OpKernelConstruction*, const char*, unsigned char*, TF_Status*);
void TF_OpKernelConstruction_GetAttrSize(TF_OpKernelConstruction*, const char*, std::int32_t*, std::int32_t*,
                                         TF_Status*);
void TF_OpKernelConstruction_GetAttrString(TF_OpKernelConstruction*, const char*, char*, std::size_t, TF_Status*);
void TF_OpKernelConstruction_Failure(TF_OpKernelConstruction*, TF_Status*);
void TF_OpKernelContext_Failure(TF_OpKernelContext*, TF_Status*);
void TF_GetInput(TF_OpKernelContext*, int, TF_Tensor**, TF_Status*);
TF_Tensor* TF_AllocateOutput(TF_OpKernelContext*, int, int, const std::int64_t*, int, std::size_t, TF_Status*);
void TF_DeleteTensor(TF_Tensor*);
void* TF_TensorData(const TF_Tensor*);
std::int64_t TF_Dim(const TF_Tensor*, int);
int TF_NumDims(const TF_Tensor*);
}

namespace textrnn {
namespace {

constexpr int kFloat = 1;             // TF_FLOAT
constexpr int kInvalidArgument = 3;   // of TF_Code
constexpr int kResourceExhausted = 8;

// What ends a call, with a code of TensorFlow.
struct Failure {
  int code;
  std::string message;
};

void check(const TF_Status* status) {
  if (TF_GetCode(status)) throw Failure{TF_GetCode(status), TF_Message(status)};
}

using Dims = std::vector<std::int64_t>;

std::string text(const Dims& dims) {
  std::string found = "[";
  for (std::size_t i = 0; i < dims.size(); i++) found += (i ? ", " : "") + std::to_string(dims[i]);
  return found + "]";
}

class Call {
 public:
  explicit Call(TF_OpKernelContext* context) : context_(context), status_(TF_NewStatus()) {}
  ~Call() {
    for (TF_Tensor* tensor : tensors_) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status_);
  }
  Call(const Call&) = delete;

  TF_Tensor* input() {
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context_, inputs_++, &tensor, status_);
    check(status_);
    tensors_.push_back(tensor);
    return tensor;
  }
  // The numbers of an input of this shape.
  const float* input(const char* name, const Dims& dims) { return expected(name, input(), dims); }
  static const float* expected(const char* name, const TF_Tensor* tensor, const Dims& dims) {
    if (dims_of(tensor) != dims)
      throw Failure{kInvalidArgument,
                    std::string(name) + " has the shape " + text(dims_of(tensor)) + ", expected " + text(dims)};
    return static_cast<const float*>(TF_TensorData(tensor));
  }
  float* output(const Dims& dims) {
    std::size_t bytes = sizeof(float);
    for (std::int64_t dim : dims) bytes *= dim;
    TF_Tensor* tensor =
        TF_AllocateOutput(context_, outputs_++, kFloat, dims.data(), static_cast<int>(dims.size()), bytes, status_);
    check(status_);
    tensors_.push_back(tensor);
    return static_cast<float*>(TF_TensorData(tensor));
  }
  void fail(const Failure& failure) {
    TF_SetStatus(status_, failure.code, failure.message.c_str());
    TF_OpKernelContext_Failure(context_, status_);
  }

  static Dims dims_of(const TF_Tensor* tensor) {
    Dims dims(TF_NumDims(tensor));
    for (std::size_t i = 0; i < dims.size(); i++) dims[i] = TF_Dim(tensor, static_cast<int>(i));
    return dims;
  }

 private:
  TF_OpKernelContext* const context_;
  TF_Status* const status_;
  std::vector<TF_Tensor*> tensors_;
  int inputs_ = 0, outputs_ = 0;
};

// The attributes of a node, and of a frozen one its packed weights.
struct Node {
  Cell cell = Cell::kSimple;
  Activation activation = Activation::kTanh;
  int directions = 1;
  bool training = false, frozen = false;

  std::mutex mutex;
  std::shared_ptr<const Packed> packed;
  Index width = 0, units = 0;
  bool masked = false;
  const float* kernel = nullptr;

  std::shared_ptr<const Packed> packed_weights(const Shape& shape, const Weights& weights, bool is_masked) {
    if (!frozen) return pack(shape, weights, is_masked);
    std::lock_guard<std::mutex> lock(mutex);
    if (!packed || width != shape.width || units != shape.units || masked != is_masked ||
        kernel != weights.kernels[0]) {
      packed = pack(shape, weights, is_masked);
      width = shape.width, units = shape.units, masked = is_masked, kernel = weights.kernels[0];
    }
    return packed;
  }
};

std::string attribute(TF_OpKernelConstruction* construction, const char* name, TF_Status* status) {
  std::int32_t count = 0, size = 0;
  TF_OpKernelConstruction_GetAttrSize(construction, name, &count, &size, status);
  check(status);
  std::string value(size, '\0');
  TF_OpKernelConstruction_GetAttrString(construction, name, value.data(), value.size(), status);
  check(status);
  return value;
}

void read_attributes(TF_OpKernelConstruction* construction, Node& node, TF_Status* status) {
  TF_OpKernelConstruction_GetAttrInt32(construction, "N", &node.directions, status);
  check(status);
  if (node.directions > kMaxDirections) throw Failure{kInvalidArgument, "N is 1 or 2"};
  unsigned char training = 0, frozen = 0;
  TF_OpKernelConstruction_GetAttrBool(construction, "training", &training, status);
  check(status);
  TF_OpKernelConstruction_GetAttrBool(construction, "frozen", &frozen, status);
  check(status);
  node.training = training, node.frozen = frozen;
  const std::string cell = attribute(construction, "cell", status);
  const std::string activation = attribute(construction, "activation", status);
  node.cell = cell == "lstm" ? Cell::kLstm : cell == "gru" ? Cell::kGru : Cell::kSimple;
  node.activation = activation == "relu"      ? Activation::kRelu
                    : activation == "sigmoid" ? Activation::kSigmoid
                                              : Activation::kTanh;
}

void* create(TF_OpKernelConstruction* construction) {
  Node* node = new Node;
  TF_Status* status = TF_NewStatus();
  try {
    read_attributes(construction, *node, status);
  } catch (const Failure& failure) {
    TF_SetStatus(status, failure.code, failure.message.c_str());
    TF_OpKernelConstruction_Failure(construction, status);
  }
  TF_DeleteStatus(status);
  return node;
}

void destroy(void* node) { delete static_cast<Node*>(node); }

// The inputs that both operations have.
struct Inputs {
  Shape shape;
  State state;
  Weights weights;
  Dims states;  // shape of a state

  Inputs(Call& call, const Node& node) {
    const TF_Tensor* x = call.input();
    const Dims dims = Call::dims_of(x);
    if (dims.size() != 3) throw Failure{kInvalidArgument, "x has the shape " + text(dims) + ", expected three axes"};
    const TF_Tensor* lengths = call.input();
    if (Call::dims_of(lengths) != Dims{dims[0]})
      throw Failure{kInvalidArgument, "lengths has the shape " + text(Call::dims_of(lengths)) + ", expected [" +
                                          std::to_string(dims[0]) + "]"};
    shape = {node.cell, node.activation, node.directions, dims[0], dims[1], dims[2], 0};
    state.inputs = static_cast<const float*>(TF_TensorData(x));
    state.lengths = static_cast<const std::int32_t*>(TF_TensorData(lengths));
    for (Index i = 0; i < shape.batch; i++)
      if (state.lengths[i] < 0 || state.lengths[i] > shape.steps)
        throw Failure{kInvalidArgument, "a length is " + std::to_string(state.lengths[i]) + ", expected 0 to " +
                                            std::to_string(shape.steps)};
    TF_Tensor *hidden = call.input(), *memory = call.input(), *masks = call.input();
    std::vector<TF_Tensor*> kernels;
    for (Index d = 0; d < shape.directions; d++) kernels.push_back(call.input());
    const Dims first = Call::dims_of(kernels[0]);
    const Index gates = shape.gates();
    if (first.size() != 2 || first[1] % gates || first[1] < gates)
      throw Failure{kInvalidArgument, "a kernel has the shape " + text(first) + ", expected [" +
                                          std::to_string(shape.width) + ", units * " + std::to_string(gates) + "]"};
    shape.units = first[1] / gates;
    const Index columns = first[1];
    states = {shape.directions, shape.batch, shape.units};
    state.hidden = optional("hidden", hidden, states);
    state.memory = optional("memory", memory, states);
    state.masks = optional("masks", masks, {shape.directions, gates, shape.batch, shape.units});
    for (Index d = 0; d < shape.directions; d++)
      weights.kernels[d] = Call::expected("kernels", kernels[d], {shape.width, columns});
    for (Index d = 0; d < shape.directions; d++)
      weights.recurrents[d] = call.input("recurrents", {shape.units, columns});
    const Dims bias = shape.cell == Cell::kGru ? Dims{2, columns} : Dims{columns};
    for (Index d = 0; d < shape.directions; d++) weights.biases[d] = call.input("biases", bias);
  }

  Dims saved() const { return {shape.directions, shape.batch, shape.steps, shape.saved()}; }
  Dims memories() const { return {shape.directions, shape.batch, shape.steps, shape.units}; }
  bool has_memory() const { return shape.cell == Cell::kLstm; }

 private:
  static const float* optional(const char* name, const TF_Tensor* tensor, const Dims& dims) {
    return Call::dims_of(tensor) == Dims{0} ? nullptr : Call::expected(name, tensor, dims);
  }
};

void forward(Node& node, Call& call) {
  Inputs in(call, node);
  const Shape& shape = in.shape;
  const bool saves = node.training;
  Outputs out{};
  out.outputs = call.output({shape.batch, shape.steps, shape.directions * shape.units});
  out.last_hidden = call.output(in.states);
  out.last_memory = call.output(in.has_memory() ? in.states : Dims{0});
  float* gates = call.output(saves ? in.saved() : Dims{0});
  float* memories = call.output(saves && in.has_memory() ? in.memories() : Dims{0});
  out.gates = saves && shape.saved() ? gates : nullptr;
  out.memories = saves && in.has_memory() ? memories : nullptr;
  run_forward(shape, in.state, *node.packed_weights(shape, in.weights, in.state.masks), out);
}

void backward(Node& node, Call& call) {
  Inputs in(call, node);
  const Shape& shape = in.shape;
  const Dims outputs{shape.batch, shape.steps, shape.directions * shape.units};
  const Dims memory = in.has_memory() ? in.states : Dims{0};
  Outputs out{};
  out.outputs = const_cast<float*>(call.input("y", outputs));
  out.gates = const_cast<float*>(call.input("gates", in.saved()));
  out.memories = const_cast<float*>(call.input("memories", in.has_memory() ? in.memories() : Dims{0}));
  Gradients gradients{};
  gradients.outputs = call.input("dy", outputs);
  gradients.last_hidden = call.input("dlast_hidden", in.states);
  gradients.last_memory = call.input("dlast_memory", memory);
  gradients.inputs = call.output({shape.batch, shape.steps, shape.width});
  float* hidden = call.output(in.state.hidden ? in.states : Dims{0});
  float* last = call.output(in.state.memory ? in.states : Dims{0});
  gradients.hidden = in.state.hidden ? hidden : nullptr;
  gradients.memory = in.state.memory && in.has_memory() ? last : nullptr;
  const Index columns = shape.gates() * shape.units;
  for (Index d = 0; d < shape.directions; d++) gradients.kernels[d] = call.output({shape.width, columns});
  for (Index d = 0; d < shape.directions; d++) gradients.recurrents[d] = call.output({shape.units, columns});
  const Dims bias = shape.cell == Cell::kGru ? Dims{2, columns} : Dims{columns};
  for (Index d = 0; d < shape.directions; d++) gradients.biases[d] = call.output(bias);
  run_backward(shape, in.state, in.weights, out, gradients);
}

template <void (*Run)(Node&, Call&)>
void compute(void* node, TF_OpKernelContext* context) {
  Call call(context);
  try {
    Run(*static_cast<Node*>(node), call);
  } catch (const Failure& failure) {
    call.fail(failure);
  } catch (const std::bad_alloc&) {
    call.fail({kResourceExhausted, "out of memory in a recurrent layer"});
  }
}

void unknown_shapes(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
}

void add_inputs(TF_OpDefinitionBuilder* builder) {
  for (const char* input : {"x: float", "lengths: int32", "hidden: float", "memory: float", "masks: float",
                            "kernels: N * float", "recurrents: N * float", "biases: N * float"})
    TF_OpDefinitionBuilderAddInput(builder, input);
  for (const char* attribute : {"N: int >= 1", "cell: {'lstm', 'gru', 'simple'}",
                                "activation: {'tanh', 'sigmoid', 'relu'}", "training: bool", "frozen: bool = false"})
    TF_OpDefinitionBuilderAddAttr(builder, attribute);
}

void add_kernel(TF_OpDefinitionBuilder* builder, const char* name, void (*run)(void*, TF_OpKernelContext*)) {
  TF_Status* status = TF_NewStatus();
  TF_RegisterOpDefinition(builder, status);
  if (!TF_GetCode(status))
    TF_RegisterKernelBuilder(name, TF_NewKernelBuilder(name, "CPU", create, run, destroy), status);
  TF_DeleteStatus(status);
}

struct Registration {
  Registration() {
    TF_OpDefinitionBuilder* builder = TF_NewOpDefinitionBuilder("TextrnnRecurrent");
    add_inputs(builder);
    for (const char* output :
         {"y: float", "last_hidden: float", "last_memory: float", "gates: float", "memories: float"})
      TF_OpDefinitionBuilderAddOutput(builder, output);
    TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, unknown_shapes);
    add_kernel(builder, "TextrnnRecurrent", compute<forward>);

    builder = TF_NewOpDefinitionBuilder("TextrnnRecurrentGrad");
    add_inputs(builder);
    for (const char* input : {"y: float", "gates: float", "memories: float", "dy: float", "dlast_hidden: float",
                              "dlast_memory: float"})
      TF_OpDefinitionBuilderAddInput(builder, input);
    for (const char* output : {"dx: float", "dhidden: float", "dmemory: float", "dkernels: N * float",
                               "drecurrents: N * float", "dbiases: N * float"})
      TF_OpDefinitionBuilderAddOutput(builder, output);
    TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, unknown_shapes);
    add_kernel(builder, "TextrnnRecurrentGrad", compute<backward>);
  }
} registration;

}  // namespace
}  // namespace textrnn

TEXTRNN_EXPORT int textrnn_set_threads(int count) {
  if (count < 1) return 1;
  textrnn::set_threads(count);
  return 0;
}
TEXTRNN_EXPORT int textrnn_set_instruction_set(const char* name) { return textrnn::choose_kernels(name) ? 0 : 1; }
TEXTRNN_EXPORT const char* textrnn_instruction_set() { return textrnn::kernels().name; }
