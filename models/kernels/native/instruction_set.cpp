// The choice of the instruction set, once for the process.
#include <atomic>
#include <cstring>

#include "recurrent.h"

namespace textrnn {
namespace {

const Kernels* fitting(const char* name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool is_any = !name;
  if ((is_any || !std::strcmp(name, "avx512")) && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd"))
    return &kernels_avx512();
  if ((is_any || !std::strcmp(name, "avx2")) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
    return &kernels_avx2();
#endif
  return !name || !std::strcmp(name, "baseline") ? &kernels_baseline() : nullptr;
}

std::atomic<const Kernels*> chosen{nullptr};

}  // namespace

const Kernels& kernels() {
  const Kernels* found = chosen.load(std::memory_order_acquire);
  if (!found) chosen.store(found = fitting(nullptr), std::memory_order_release);
  return *found;
}

bool choose_kernels(const char* name) {
  const Kernels* found = fitting(name);
  if (found) chosen.store(found, std::memory_order_release);
  return found;
}

}  // namespace textrnn
