#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace textrnn {
namespace {

// How often a thread looks for the next work before it sleeps: some ten microseconds. The parts of one call follow
// each other within that time, and waking a thread takes as long.
constexpr int kLooks = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Pool {
 public:
  // Whether the task ran; else another call has the helpers.
  bool run(Index count, Index helpers, const std::function<void(Index)>& task) {
    std::unique_lock<std::mutex> only(running_, std::try_to_lock);
    if (!only.owns_lock()) return false;
    while (started_ < helpers) std::thread(&Pool::work, this, started_++).detach();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = &task;
      count_ = count;
      helpers_ = helpers;
      next_.store(0, std::memory_order_relaxed);
      is_open_ = true;
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      is_open_ = false;  // nothing is left for a helper that wakes now
    }
    for (int i = 0; i < kLooks && busy_.load(std::memory_order_acquire); i++) pause();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return !busy_.load(std::memory_order_acquire); });
    return true;
  }

 private:
  void take() {
    for (Index i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) (*task_)(i);
  }

  void work(Index number) {
    std::uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < kLooks && round_.load(std::memory_order_acquire) == seen; i++) pause();
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
        seen = round_.load(std::memory_order_acquire);
        if (!is_open_ || number >= helpers_) continue;
        busy_.fetch_add(1, std::memory_order_relaxed);
      }
      take();
      std::lock_guard<std::mutex> lock(mutex_);
      if (busy_.fetch_sub(1, std::memory_order_release) == 1) done_.notify_one();
    }
  }

  std::mutex running_, mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(Index)>* task_ = nullptr;
  Index count_ = 0, helpers_ = 0, started_ = 0;
  bool is_open_ = false;
  std::atomic<Index> next_{0}, busy_{0};
  std::atomic<std::uint64_t> round_{0};
};

std::atomic<Index> chosen{0};

Pool& pool() {
  static Pool* const only = new Pool;  // its threads run until the process ends
  return *only;
}

}  // namespace

Index threads() {
  const Index count = chosen.load(std::memory_order_relaxed);
  return count ? count : std::thread::hardware_concurrency() ? std::thread::hardware_concurrency() : 1;
}

void set_threads(Index count) { chosen.store(count, std::memory_order_relaxed); }

void parallel(Index count, const std::function<void(Index)>& task) {
  const Index helpers = (threads() < count ? threads() : count) - 1;
  if (helpers > 0 && pool().run(count, helpers, task)) return;
  for (Index i = 0; i < count; i++) task(i);
}

}  // namespace textrnn
