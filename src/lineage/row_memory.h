// Pages of random packed rows, with a bound on the memory behind them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/view.h"

namespace precis {

/// Rows of some KV heads.  Where they would take more than the bound, page numbers wrap around the
/// pages that there are: as long as those exceed the caches, reading them costs what reading
/// different ones would.
class RowMemory {
 public:
  struct Size {
    std::int64_t n_rows = 0;  // of one KV head
    int rows_per_page = 128;
    int n_kv_heads = 1;
    std::int64_t max_bytes = 0;
  };

  RowMemory() = default;
  /// Rows whose values are of magnitude 0.5 … 2 before their scales, which are powers of two.
  RowMemory(const KvRowFormat& format, const Size& size, std::uint64_t seed);
  RowMemory(const IndexRowFormat& format, const Size& size, std::uint64_t seed);

  const RowPool& view() const { return view_; }
  bool reuses_pages() const { return reuses_pages_; }

 private:
  RowMemory(int data_bytes, int scale_bytes, const Size& size);

  std::int64_t n_pages_ = 0;  // that exist
  std::size_t page_bytes_ = 0;
  std::unique_ptr<std::byte[]> bytes_;
  std::vector<std::byte*> pages_;  // [n_kv_heads · pages of a head]
  RowPool view_;
  bool reuses_pages_ = false;
};

}  // namespace precis
