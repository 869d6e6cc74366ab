// Pages of KV rows: allocated in slabs as they are needed, counted, and used again.
//
// A slab keeps the same part of its pages side by side, so that a layer's rows of consecutive pages
// are one stream of memory (docs/kv_layout.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/integers.h"
#include "kv/kv_spec.h"
#include "ops/backend.h"

namespace precis {

/// All pages of one engine.  Growing adds a slab; no page ever moves.
///
/// Threads   one caller at a time
class PagePool {
 public:
  PagePool(Backend& backend, std::int64_t page_bytes);

  std::int64_t page_bytes() const { return page_bytes_; }
  /// Bytes of the slabs that hold `n_pages`.
  static std::int64_t n_bytes_for(std::int64_t page_bytes, std::int64_t n_pages) {
    return round_up(n_pages, kPagesPerSlab) * page_bytes;
  }

  /// A page with one reference; its content is whatever was there before.
  std::int32_t acquire();
  void add_reference(std::int32_t page);
  /// Drops one reference; at none the page is free.
  void release(std::int32_t page);

  /// Where `part` of `page` is; that of the slab's next page follows it.
  std::byte* data(std::int32_t page, const PagePart& part) const;
  /// Whether the bytes of `page` lie behind those of `before`, part by part.
  static bool follows(std::int32_t before, std::int32_t page) {
    return page == before + 1 && page % kPagesPerSlab != 0;
  }
  std::int64_t n_pages_in_use() const { return n_in_use_; }

 private:
  static constexpr int kPagesPerSlab = 64;

  Backend& backend_;
  std::int64_t page_bytes_;
  std::vector<Buffer> slabs_;
  std::vector<std::int32_t> references_;  // [pages]
  std::vector<std::int32_t> free_;
  std::int64_t n_in_use_ = 0;
};

}  // namespace precis
