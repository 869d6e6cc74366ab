// A small cache of every layer kind on the reference backend, for the tests of this folder.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "backend/registry.h"
#include "base/rng.h"
#include "base/threads.h"
#include "kv/kv_cache.h"

namespace precis {

/// One window, one sparse and one heavy layer of narrow rows.
inline KvSpec small_kv_spec() {
  KvSpec spec;
  spec.window = 16;
  spec.kv = {64, 32, RopeStorage::kBf16};
  spec.index = {32};
  spec.layers = {{}, {4, true, true}, {128, false, false}};
  return spec;
}

/// A backend, a page pool and the caches made on them.
class KvWorld {
 public:
  explicit KvWorld(KvSpec spec = small_kv_spec())
      : spec_(std::move(spec)),
        backend_(std::move(make_backend("ref", threads_)).value()),
        step_rows_(*backend_, spec_, 64),
        pool_(*backend_, make_kv_layout(spec_).page_bytes) {}

  std::unique_ptr<KvCache> new_cache(std::int64_t max_tokens = 2048) {
    return std::make_unique<KvCache>(*backend_, spec_, pool_, step_rows_, max_tokens);
  }

  PagePool& pool() { return pool_; }
  const KvSpec& spec() const { return spec_; }

  /// Appends `n` tokens whose rings, states and pages hold bytes of the stream `seed`.
  static void fill(KvCache& cache, std::int64_t n, std::uint64_t seed) {
    cache.reserve(n);
    cache.commit(n);
    auto random = [&](std::int64_t n_bytes, std::uint64_t part) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(n_bytes));
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(random_bits(seed, part * 1'000'000 + i));
      }
      return bytes;
    };
    cache.begin_restore(cache.n_tokens(), random(cache.fixed_bytes(), 0));
    for (std::int64_t i = 0; i < cache.n_pages(); ++i) {
      cache.copy_in_pages(i, random(cache.page_bytes(), static_cast<std::uint64_t>(i) + 1));
    }
  }

  /// Everything that a cache holds: the fixed part, then its pages.
  static std::vector<std::byte> content(const KvCache& cache) {
    const auto fixed = static_cast<std::size_t>(cache.fixed_bytes());
    const auto page = static_cast<std::size_t>(cache.page_bytes());
    std::vector<std::byte> out(fixed + page * static_cast<std::size_t>(cache.n_pages()));
    cache.copy_out_fixed(std::span(out).first(fixed));
    cache.copy_out_pages(0, std::span(out).subspan(fixed));
    return out;
  }

 private:
  KvSpec spec_;
  ThreadPool threads_{1};
  std::unique_ptr<Backend> backend_;
  StepRows step_rows_;
  PagePool pool_;
};

}  // namespace precis
