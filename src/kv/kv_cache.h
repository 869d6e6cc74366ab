// The state of one sequence: pages of compressed rows, window rings and compressor states of every
// layer.  The only code that knows where a KV byte lives; kernels get views, snapshots get parts.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kv/kv_spec.h"
#include "kv/page_pool.h"
#include "ops/backend.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace precis {

/// Window rows of one step before they enter the ring: pages of `window` rows, shared by all layers
/// and sequences of an engine because layers run one after another.
class StepRows {
 public:
  StepRows(Backend& backend, const KvSpec& spec, std::int64_t max_step_tokens);

  static std::int64_t n_bytes_for(const KvSpec& spec, std::int64_t max_step_tokens);
  std::int64_t n_bytes() const { return static_cast<std::int64_t>(buffer_.n_bytes()); }
  const std::vector<std::byte*>& pages() const { return pages_; }

 private:
  Buffer buffer_;
  std::vector<std::byte*> pages_;
};

/// A saved point to go back to: everything of a sequence but its compressed rows, which only grow.
struct Frontier {
  std::int64_t n_tokens = 0;
  std::vector<std::byte> fixed;  // rings, then states
};

/// One compressor's state: what it keeps of unfinished blocks (f32 [state_rows, state_cols] each).
struct CompressorState {
  Mat<float> kv;
  Mat<float> score;
};

/// The KV cache of one sequence.
///
/// Units     n_tokens() counts positions held; a step writes beyond it and then commits
/// Threads   one caller at a time
class KvCache {
 public:
  /// `pool` and `step_rows` must outlive the cache; it holds at most `max_tokens`.
  KvCache(Backend& backend, const KvSpec& spec, PagePool& pool, const StepRows& step_rows,
          std::int64_t max_tokens);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  std::int64_t n_tokens() const { return n_tokens_; }
  std::int64_t max_tokens() const { return max_tokens_; }
  const KvSpec& spec() const { return spec_; }

  /// Bytes that a cache of `max_tokens` comes to take of its backend, its tables and whole slabs of
  /// pages included.
  static std::int64_t n_bytes_for(const KvSpec& spec, std::int64_t max_step_tokens,
                                  std::int64_t max_tokens);

  /// Makes room for `n` more tokens; no row moves.
  ///
  /// Requires  n_tokens() + n <= max_tokens()
  void reserve(std::int64_t n);
  /// The step's `n` tokens are in; every layer has stored them.
  void commit(std::int64_t n);

  RowPool rows(int layer) const;
  RowPool index_rows(int layer) const;
  WindowRows window(int layer) const;
  CompressorState state(int layer) const;
  CompressorState index_state(int layer) const;

  /// Where the views above point to: two caches with equal addresses give equal views.
  std::array<std::uint64_t, 3> addresses() const;

  /// Back to an empty sequence; pages are released.
  void clear();

  Frontier save_frontier() const;
  /// Bytes that save_frontier keeps.
  std::int64_t frontier_bytes() const { return layout_.fixed_bytes(); }
  /// Back to `frontier`; rows of later tokens are dropped with their pages.
  ///
  /// Requires  frontier.n_tokens <= n_tokens(), taken from this sequence
  void restore_frontier(const Frontier& frontier);

  /// Bytes held now: pages in use and the fixed part.
  std::int64_t n_bytes() const;

  /// The parts that a snapshot stores, in order: the fixed part, then each page.
  std::int64_t n_pages() const { return static_cast<std::int64_t>(pages_.size()); }
  std::int64_t page_bytes() const { return layout_.page_bytes; }
  std::int64_t fixed_bytes() const { return layout_.fixed_bytes(); }
  void copy_out_fixed(std::span<std::byte> out) const;
  /// As many pages as `out` holds, from `first_page` on, page after page.
  ///
  /// Cost      one copy by the backend for each part of up to 64 pages
  void copy_out_pages(std::int64_t first_page, std::span<std::byte> out) const;
  /// Replaces the content by `n_tokens` tokens stored that way: first the fixed part, then every
  /// page through copy_in_pages.
  void begin_restore(std::int64_t n_tokens, std::span<const std::byte> fixed);
  void copy_in_pages(std::int64_t first_page, std::span<const std::byte> bytes);

 private:
  template <class Use>
  void for_neighbours(std::int64_t first_page, std::size_t n_bytes, const Use& use) const;
  RowPool pool_of(int part, int rows_per_page, int data_bytes, int scale_bytes) const;
  std::byte* data(std::int64_t page_idx, const PagePart& part) const;
  std::int64_t max_pages() const;
  Mat<float> state_at(std::int64_t offset, int n_rows, int n_cols) const;
  void reset_states();
  void resize_pages(std::int64_t n_pages);

  Backend& backend_;
  KvSpec spec_;
  KvLayout layout_;
  PagePool& pool_;
  std::int64_t max_tokens_;
  std::int64_t n_tokens_ = 0;
  std::vector<std::int32_t> pages_;
  Buffer fixed_;         // rings and states
  Buffer page_tables_;   // std::byte* [parts of a page, max pages], where the backend can read it
  Buffer window_table_;  // std::byte* [n_layers, 1 + n_step_pages]
  int window_table_cols_ = 0;
};

}  // namespace precis
