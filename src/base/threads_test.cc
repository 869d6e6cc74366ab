#include "base/threads.h"

#include <atomic>
#include <vector>

#include <gtest/gtest.h>

namespace precis {
namespace {

TEST(ThreadPool, VisitsEveryItemOnce) {
  for (const int n_threads : {1, 2, 3}) {
    ThreadPool pool(n_threads);
    for (const std::int64_t n : {0, 1, 7, 64, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
      pool.parallel_for(n, 7, [&](std::int64_t begin, std::int64_t end, int worker) {
        EXPECT_LE(0, worker);
        EXPECT_LT(worker, n_threads);
        EXPECT_LE(end - begin, 7);
        for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
      });
      for (const auto& count : seen) EXPECT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPool, SeesAtLeastOneProcessor) {
  EXPECT_LE(1, n_available_processors());
}

}  // namespace
}  // namespace precis
