#include "kv/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include <gtest/gtest.h>
#include <unistd.h>

#include "kv/kv_test_util.h"

namespace precis {
namespace {

TEST(PagePool, PageIsFreeAfterItsLastReference) {
  KvWorld world;
  PagePool& pool = world.pool();
  const std::int32_t page = pool.acquire();
  pool.add_reference(page);
  pool.release(page);
  EXPECT_EQ(pool.n_pages_in_use(), 1);
  EXPECT_NE(pool.acquire(), page);
  pool.release(page);
  EXPECT_EQ(pool.n_pages_in_use(), 1);
  EXPECT_EQ(pool.acquire(), page);
}

TEST(PagePool, GrowingMovesNoPageAndNoTwoPagesShareBytes) {
  KvWorld world;
  PagePool& pool = world.pool();
  const std::int32_t first = pool.acquire();
  const std::vector<PagePart> parts = make_kv_layout(world.spec()).page_parts;
  const std::byte* address = pool.data(first, parts[1]);
  std::map<std::byte*, std::int64_t> sizes;  // by address
  const auto add = [&](std::int32_t page) {
    for (const PagePart& part : parts) sizes[pool.data(page, part)] = part.n_bytes;
  };
  add(first);
  for (int i = 1; i < 200; ++i) add(pool.acquire());
  EXPECT_EQ(sizes.size(), 200 * parts.size());
  EXPECT_EQ(pool.data(first, parts[1]), address);
  for (auto it = sizes.begin(); std::next(it) != sizes.end(); ++it) {
    EXPECT_LE(it->second, std::next(it)->first - it->first);
  }
}

TEST(PagePool, ALayersRowsOfPagesInOrderAreOneStream) {
  KvWorld world;
  PagePool& pool = world.pool();
  const std::int32_t first = pool.acquire();
  const std::int32_t second = pool.acquire();
  for (const PagePart& part : make_kv_layout(world.spec()).page_parts) {
    EXPECT_EQ(pool.data(second, part), pool.data(first, part) + part.n_bytes);
  }
}

TEST(PagePoolDeathTest, ReleasingAFreePageIsABug) {
  KvWorld world;
  const std::int32_t page = world.pool().acquire();
  world.pool().release(page);
  EXPECT_DEATH(world.pool().release(page), "references");
}

TEST(KvCache, BytesHeldAreThePlannedOnesAtEveryPageEdge) {
  KvWorld world;
  const auto cache = world.new_cache();
  EXPECT_EQ(cache->n_bytes(), kv_bytes(world.spec(), 0).total());
  for (std::int64_t n = 1; n <= 700; ++n) {
    cache->reserve(1);
    cache->commit(1);
    const bool beside_an_edge = n % kPagePositions <= 1 || n % kPagePositions == 127;
    if (beside_an_edge) {
      EXPECT_EQ(cache->n_bytes(), kv_bytes(world.spec(), n).total()) << n;
    }
  }
}

// Sanitizers keep memory of their own beside every allocation.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PRECIS_PLAIN_MEMORY 0
#else
#define PRECIS_PLAIN_MEMORY 1
#endif

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t mapped = 0;
  std::int64_t resident = 0;
  statm >> mapped >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// What the system counts is what kv_bytes says, a + b · n for whole pages, once the rows are there.
TEST(KvCache, ResidentMemoryGrowsByThePlannedBytes) {
  if (PRECIS_PLAIN_MEMORY == 0) GTEST_SKIP() << "memory of a sanitizer is counted too";
  constexpr std::int32_t kPages = 10'000;
  constexpr std::int64_t kPositions = kPages * kPagePositions;
  KvWorld world;
  const auto cache = world.new_cache(kPositions);
  const std::int64_t before = resident_bytes();
  if (before == 0) GTEST_SKIP() << "the system does not tell";
  const std::int64_t held_before = cache->n_bytes();
  cache->reserve(kPositions);
  cache->commit(kPositions);
  cache->copy_in_pages(
      0, std::vector<std::byte>(static_cast<std::size_t>(kPages * world.pool().page_bytes()),
                                std::byte{1}));
  const std::int64_t planned = kv_bytes(world.spec(), kPositions).total();
  EXPECT_EQ(cache->n_bytes(), planned);
  EXPECT_EQ(planned, kv_bytes(world.spec(), 0).fixed() + kPages * world.pool().page_bytes());
  const auto growth = static_cast<double>(planned - held_before);
  // Memory that earlier tests gave back may be used again.
  EXPECT_NEAR(static_cast<double>(resident_bytes() - before), growth, 0.06 * growth);
}

TEST(KvCache, PagesComeOutAsTheyWentInWhereverTheyLie) {
  KvWorld world;
  const auto cache = world.new_cache(100'000);
  const auto other = world.new_cache(100'000);
  for (int run = 1; run <= 20; ++run) {  // neighbours of 1, 2, … 20 pages, across slabs
    for (KvCache* grown : {cache.get(), other.get()}) {
      grown->reserve(run * kPagePositions);
      grown->commit(run * kPagePositions);
    }
  }
  const auto page_bytes = static_cast<std::size_t>(cache->page_bytes());
  std::vector<std::byte> stored(static_cast<std::size_t>(cache->n_pages()) * page_bytes);
  for (std::size_t i = 0; i < stored.size(); ++i) stored[i] = std::byte(i * 2654435761u >> 24);
  cache->copy_in_pages(0, stored);
  other->copy_in_pages(0, std::vector<std::byte>(stored.size()));
  std::vector<std::byte> read(stored.size());
  cache->copy_out_pages(0, read);
  EXPECT_EQ(read, stored);
  std::vector<std::byte> one(page_bytes);
  cache->copy_out_pages(7, one);
  EXPECT_TRUE(std::ranges::equal(one, std::span(stored).subspan(7 * page_bytes, page_bytes)));
}

TEST(KvCache, RowsKeepTheirAddressWhileTheCacheGrows) {
  KvWorld world;
  const auto cache = world.new_cache(100'000);
  cache->reserve(128);
  cache->commit(128);
  const std::byte* row = cache->rows(1).data(5);
  cache->reserve(90'000);
  EXPECT_EQ(cache->rows(1).data(5), row);
}

TEST(KvCache, RowsOfALayerLieApartFromEachOtherAndFromOtherLayers) {
  KvWorld world;
  const auto cache = world.new_cache();
  cache->reserve(256);
  std::set<const std::byte*> seen;
  std::size_t n_rows = 0;
  for (const RowPool& pool : {cache->rows(1), cache->index_rows(1), cache->rows(2)}) {
    const int n = 2 * pool.rows_per_page;
    for (int r = 0; r < n; ++r) seen.insert({pool.data(r), pool.scales(r)});
    n_rows += 2 * static_cast<std::size_t>(n);
  }
  EXPECT_EQ(seen.size(), n_rows);
}

TEST(KvCache, FreshStatesWeighNothing) {
  KvWorld world;
  const auto cache = world.new_cache();
  for (const CompressorState& state : {cache->state(1), cache->index_state(1), cache->state(2)}) {
    for (std::int64_t r = 0; r < state.kv.rows; ++r) {
      for (std::int64_t c = 0; c < state.kv.cols; ++c) {
        ASSERT_EQ(state.kv(r, c), 0);
        ASSERT_EQ(state.score(r, c), -INFINITY);
      }
    }
  }
}

TEST(KvCache, ClearGivesPagesBackAndForgetsEverything) {
  KvWorld world;
  const auto cache = world.new_cache();
  KvWorld::fill(*cache, 300, 1);
  EXPECT_EQ(world.pool().n_pages_in_use(), 3);
  cache->clear();
  EXPECT_EQ(cache->n_tokens(), 0);
  EXPECT_EQ(world.pool().n_pages_in_use(), 0);
  cache->reserve(1);
  for (std::int64_t r = 0; r < cache->state(1).score.rows; ++r) {
    ASSERT_EQ(cache->state(1).score(r, 0), -INFINITY);
  }
}

TEST(KvCache, DestructionGivesPagesBack) {
  KvWorld world;
  {
    const auto cache = world.new_cache();
    KvWorld::fill(*cache, 1000, 1);
    EXPECT_EQ(world.pool().n_pages_in_use(), 8);
  }
  EXPECT_EQ(world.pool().n_pages_in_use(), 0);
}

TEST(KvCache, PagesOfAClosedSequenceServeTheNextOne) {
  KvWorld world;
  const std::byte* first_row = nullptr;
  {
    const auto cache = world.new_cache();
    cache->reserve(128);
    first_row = cache->rows(1).data(0);
  }
  const auto cache = world.new_cache();
  cache->reserve(128);
  EXPECT_EQ(cache->rows(1).data(0), first_row);
}

TEST(KvCache, FrontierBringsBackRingsAndStatesAndKeepsEarlierRows) {
  KvWorld world;
  const auto cache = world.new_cache();
  KvWorld::fill(*cache, 200, 1);
  const std::vector<std::byte> before = KvWorld::content(*cache);
  const Frontier frontier = cache->save_frontier();
  EXPECT_EQ(frontier.n_tokens, 200);
  EXPECT_EQ(static_cast<std::int64_t>(frontier.fixed.size()), cache->frontier_bytes());

  cache->reserve(300);
  cache->commit(300);
  cache->state(1).kv(0, 0) = 42;
  EXPECT_NE(KvWorld::content(*cache), before);
  cache->restore_frontier(frontier);
  EXPECT_EQ(cache->n_tokens(), 200);
  EXPECT_EQ(world.pool().n_pages_in_use(), 2);
  EXPECT_EQ(KvWorld::content(*cache), before);
}

TEST(KvCache, WindowOfAStepLiesBehindTheRing) {
  KvWorld world;
  const auto cache = world.new_cache();
  cache->reserve(20);
  cache->commit(20);
  const WindowRows window = cache->window(0);
  EXPECT_EQ(window.step_begin, 20);
  EXPECT_EQ(window.slot(19), 3);   // 19 mod 16, in the ring
  EXPECT_EQ(window.slot(20), 16);  // the step's first row
  EXPECT_EQ(window.first_visible(20), 5);
  EXPECT_EQ(window.first_visible(3), 0);
  EXPECT_NE(window.pool.data(0), cache->window(1).pool.data(0));    // a ring per layer
  EXPECT_EQ(window.pool.data(16), cache->window(1).pool.data(16));  // step rows are shared
}

TEST(KvCacheDeathTest, MoreTokensThanItCanHoldIsABug) {
  KvWorld world;
  const auto cache = world.new_cache(100);
  EXPECT_DEATH(cache->reserve(101), "max_tokens_");
}

}  // namespace
}  // namespace precis
