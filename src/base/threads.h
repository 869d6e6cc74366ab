// One pool of worker threads and parallel loops over ranges.
//
// Work is cut by the caller's grain only, never by the number of threads, and no loop reduces
// across chunks: results cannot depend on the thread count.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace precis {

/// Threads that run loops for one engine.
///
/// Threads   parallel_for may be called from one thread at a time; it must not be nested
class ThreadPool {
 public:
  /// `n_threads` >= 1, the calling thread included.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();

  int n_threads() const { return n_threads_; }

  /// Calls body(begin, end, worker) for consecutive chunks of at most `grain` items covering
  /// [0, n); returns when all are done.  0 <= worker < n_threads().  One chunk runs inline.
  void parallel_for(std::int64_t n, std::int64_t grain,
                    const std::function<void(std::int64_t, std::int64_t, int)>& body);

 private:
  struct Impl;
  int n_threads_;
  std::unique_ptr<Impl> impl_;
};

/// Processors this process may run on.
int n_available_processors();

}  // namespace precis
