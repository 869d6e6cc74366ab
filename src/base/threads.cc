#include "base/threads.h"

#include <algorithm>
#include <thread>

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include "base/check.h"

namespace precis {

struct ThreadPool::Impl {
  // The arena alone does not raise oneTBB's process-wide limit, which is the number of processors.
  explicit Impl(int n_threads)
      : limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(n_threads)),
        arena(n_threads, 1) {}
  tbb::global_control limit;
  tbb::task_arena arena;
};

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads) {
  PRECIS_CHECK_LE(1, n_threads);
  if (n_threads > 1) impl_ = std::make_unique<Impl>(n_threads);
}

ThreadPool::~ThreadPool() = default;

void ThreadPool::parallel_for(std::int64_t n, std::int64_t grain,
                              const std::function<void(std::int64_t, std::int64_t, int)>& body) {
  if (n <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t n_chunks = (n + grain - 1) / grain;
  if (n_chunks == 1 || impl_ == nullptr) {
    for (std::int64_t begin = 0; begin < n; begin += grain) {
      body(begin, std::min(begin + grain, n), 0);
    }
    return;
  }
  impl_->arena.execute([&] {
    tbb::parallel_for(
        std::int64_t{0}, n_chunks,
        [&](std::int64_t chunk) {
          body(chunk * grain, std::min((chunk + 1) * grain, n),
               tbb::this_task_arena::current_thread_index());
        },
        tbb::simple_partitioner());
  });
}

int n_available_processors() {
  return tbb::this_task_arena::max_concurrency();
}

}  // namespace precis
