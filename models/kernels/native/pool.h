// Threads that share the work of one call.
#pragma once

#include <functional>

#include "kernels.h"

namespace textrnn {

// Number of threads of a call, the calling one included.
Index threads();
void set_threads(Index count);

// Runs task(0) to task(count - 1), each once, and waits for all. A call at a time has helpers: others run alone.
void parallel(Index count, const std::function<void(Index)>& task);

}  // namespace textrnn
