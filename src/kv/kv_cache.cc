#include "kv/kv_cache.h"

#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/integers.h"

namespace precis {
namespace {

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

}  // namespace

std::int64_t StepRows::n_bytes_for(const KvSpec& spec, std::int64_t max_step_tokens) {
  return round_up(max_step_tokens, spec.window) * spec.kv.row_bytes();
}

StepRows::StepRows(Backend& backend, const KvSpec& spec, std::int64_t max_step_tokens) {
  const std::int64_t page_bytes = std::int64_t{spec.window} * spec.kv.row_bytes();
  const std::int64_t n_pages = ceil_div(max_step_tokens, spec.window);
  buffer_ = backend.allocate(static_cast<std::size_t>(n_pages * page_bytes));
  for (std::int64_t i = 0; i < n_pages; ++i) pages_.push_back(buffer_.data() + i * page_bytes);
}

KvCache::KvCache(Backend& backend, const KvSpec& spec, PagePool& pool, const StepRows& step_rows,
                 std::int64_t max_tokens)
    : backend_(backend),
      spec_(spec),
      layout_(make_kv_layout(spec)),
      pool_(pool),
      max_tokens_(max_tokens),
      fixed_(backend.allocate(static_cast<std::size_t>(layout_.fixed_bytes()))),
      window_table_cols_(1 + static_cast<int>(step_rows.pages().size())) {
  PRECIS_CHECK_EQ(pool.page_bytes(), layout_.page_bytes);
  page_tables_ = backend.allocate(layout_.page_parts.size() *
                                  static_cast<std::size_t>(max_pages()) * sizeof(std::byte*));
  std::vector<std::byte*> window_pages;
  for (const LayerKvLayout& layer : layout_.layers) {
    window_pages.push_back(fixed_.data() + layer.ring);
    window_pages.insert(window_pages.end(), step_rows.pages().begin(), step_rows.pages().end());
  }
  window_table_ = backend.allocate(window_pages.size() * sizeof(std::byte*));
  backend.copy_in(window_table_.data(), bytes_of(window_pages));
  reset_states();
}

std::int64_t KvCache::n_bytes_for(const KvSpec& spec, std::int64_t max_step_tokens,
                                  std::int64_t max_tokens) {
  const KvLayout layout = make_kv_layout(spec);
  const std::int64_t n_pages = ceil_div(max_tokens, kPagePositions);
  const std::int64_t n_window_pages =
      spec.n_layers() * (1 + ceil_div(max_step_tokens, spec.window));
  const std::int64_t n_table_entries = std::ssize(layout.page_parts) * n_pages + n_window_pages;
  const std::int64_t table_bytes = static_cast<std::int64_t>(sizeof(std::byte*)) * n_table_entries;
  return layout.fixed_bytes() + table_bytes + PagePool::n_bytes_for(layout.page_bytes, n_pages);
}

KvCache::~KvCache() {
  resize_pages(0);
}

std::int64_t KvCache::max_pages() const {
  return ceil_div(max_tokens_, kPagePositions);
}

void KvCache::reserve(std::int64_t n) {
  PRECIS_CHECK_LE(n_tokens_ + n, max_tokens_);
  if (layout_.page_bytes > 0) resize_pages(ceil_div(n_tokens_ + n, kPagePositions));
}

void KvCache::commit(std::int64_t n) {
  n_tokens_ += n;
}

RowPool KvCache::pool_of(int part, int rows_per_page, int data_bytes, int scale_bytes) const {
  PRECIS_CHECK_LE(0, part);
  return {page_tables_.as<std::byte*>() + part * max_pages(), rows_per_page, data_bytes,
          scale_bytes};
}

RowPool KvCache::rows(int layer) const {
  const LayerKvLayout& at = layout_.layers[static_cast<std::size_t>(layer)];
  return pool_of(at.rows, at.rows_per_page, spec_.kv.data_bytes(), spec_.kv.scale_bytes());
}

RowPool KvCache::index_rows(int layer) const {
  const LayerKvLayout& at = layout_.layers[static_cast<std::size_t>(layer)];
  return pool_of(at.index_rows, at.rows_per_page, spec_.index.data_bytes(),
                 spec_.index.scale_bytes());
}

WindowRows KvCache::window(int layer) const {
  WindowRows rows;
  rows.pool = {window_table_.as<std::byte*>() + layer * window_table_cols_, spec_.window,
               spec_.kv.data_bytes(), spec_.kv.scale_bytes()};
  rows.window = spec_.window;
  rows.step_begin = n_tokens_;
  return rows;
}

Mat<float> KvCache::state_at(std::int64_t offset, int n_rows, int n_cols) const {
  PRECIS_CHECK_LE(0, offset);
  return {reinterpret_cast<float*>(fixed_.data() + offset), n_rows, n_cols};
}

CompressorState KvCache::state(int layer) const {
  const LayerKvLayout& at = layout_.layers[static_cast<std::size_t>(layer)];
  return {state_at(at.state_kv, at.state_rows, at.state_cols),
          state_at(at.state_score, at.state_rows, at.state_cols)};
}

CompressorState KvCache::index_state(int layer) const {
  const LayerKvLayout& at = layout_.layers[static_cast<std::size_t>(layer)];
  return {state_at(at.index_state_kv, at.state_rows, at.index_state_cols),
          state_at(at.index_state_score, at.state_rows, at.index_state_cols)};
}

std::array<std::uint64_t, 3> KvCache::addresses() const {
  const auto address = [](const Buffer& buffer) {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(buffer.data()));
  };
  return {address(fixed_), address(page_tables_), address(window_table_)};
}

// A sequence starts with kv = 0 and scores of −inf, so that the block before the first one weighs
// nothing (docs/model.md §5.4).
void KvCache::reset_states() {
  for (int n = 0; n < spec_.n_layers(); ++n) {
    if (spec_.layers[static_cast<std::size_t>(n)].ratio == 0) continue;
    auto reset = [&](const CompressorState& state) {
      const auto count = static_cast<std::size_t>(state.kv.rows * state.kv.cols);
      const std::vector<float> zeros(count, 0.0F);
      const std::vector<float> none(count, -std::numeric_limits<float>::infinity());
      backend_.copy_in(reinterpret_cast<std::byte*>(state.kv.data), bytes_of(zeros));
      backend_.copy_in(reinterpret_cast<std::byte*>(state.score.data), bytes_of(none));
    };
    reset(state(n));
    if (spec_.layers[static_cast<std::size_t>(n)].indexed) reset(index_state(n));
  }
}

void KvCache::resize_pages(std::int64_t n_pages) {
  const std::int64_t n_before = this->n_pages();
  while (static_cast<std::int64_t>(pages_.size()) > n_pages) {
    pool_.release(pages_.back());
    pages_.pop_back();
  }
  while (static_cast<std::int64_t>(pages_.size()) < n_pages) pages_.push_back(pool_.acquire());
  if (n_pages <= n_before) return;
  std::byte** table = page_tables_.as<std::byte*>();
  for (const PagePart& part : layout_.page_parts) {
    std::vector<std::byte*> added;
    for (std::int64_t i = n_before; i < n_pages; ++i) added.push_back(data(i, part));
    backend_.copy_in(reinterpret_cast<std::byte*>(table + n_before), bytes_of(added));
    table += max_pages();
  }
}

std::byte* KvCache::data(std::int64_t page_idx, const PagePart& part) const {
  return pool_.data(pages_[static_cast<std::size_t>(page_idx)], part);
}

void KvCache::clear() {
  resize_pages(0);
  n_tokens_ = 0;
  reset_states();
}

Frontier KvCache::save_frontier() const {
  Frontier frontier;
  frontier.n_tokens = n_tokens_;
  frontier.fixed.resize(static_cast<std::size_t>(layout_.fixed_bytes()));
  copy_out_fixed(frontier.fixed);
  return frontier;
}

void KvCache::restore_frontier(const Frontier& frontier) {
  PRECIS_CHECK_LE(frontier.n_tokens, n_tokens_);
  n_tokens_ = frontier.n_tokens;
  if (layout_.page_bytes > 0) resize_pages(ceil_div(n_tokens_, kPagePositions));
  backend_.copy_in(fixed_.data(), frontier.fixed);
}

std::int64_t KvCache::n_bytes() const {
  return n_pages() * layout_.page_bytes + layout_.fixed_bytes();
}

void KvCache::copy_out_fixed(std::span<std::byte> out) const {
  PRECIS_CHECK_EQ(static_cast<std::int64_t>(out.size()), layout_.fixed_bytes());
  backend_.copy_out(out, fixed_.data());
}

// Calls use(n, offset, n_bytes, memory) for a part, of n_bytes, of n pages that lie side by side: that of
// the first page is at `offset` of the bytes of all pages, and behind each other they are at `memory`.
template <class Use>
void KvCache::for_neighbours(std::int64_t first_page, std::size_t n_bytes, const Use& use) const {
  const auto page_bytes = static_cast<std::size_t>(layout_.page_bytes);
  if (n_bytes == 0) return;
  PRECIS_CHECK_EQ(n_bytes % page_bytes, 0u);
  const std::int64_t end = first_page + static_cast<std::int64_t>(n_bytes / page_bytes);
  PRECIS_CHECK_LE(end, this->n_pages());
  for (std::int64_t begin = first_page; begin < end;) {
    std::int64_t next = begin + 1;
    while (next < end && PagePool::follows(pages_[static_cast<std::size_t>(next - 1)],
                                           pages_[static_cast<std::size_t>(next)])) {
      ++next;
    }
    const std::size_t offset = static_cast<std::size_t>(begin - first_page) * page_bytes;
    for (const PagePart& part : layout_.page_parts) {
      use(static_cast<std::size_t>(next - begin), offset + static_cast<std::size_t>(part.offset),
          static_cast<std::size_t>(part.n_bytes), data(begin, part));
    }
    begin = next;
  }
}

void KvCache::copy_out_pages(std::int64_t first_page, std::span<std::byte> out) const {
  const auto stride = static_cast<std::size_t>(layout_.page_bytes);
  std::vector<std::byte> staged;
  for_neighbours(first_page, out.size(),
                 [&](std::size_t n, std::size_t at, std::size_t n_bytes, const std::byte* memory) {
                   staged.resize(n * n_bytes);
                   backend_.copy_out(staged, memory);
                   for (std::size_t i = 0; i < n; ++i) {
                     std::memcpy(&out[at + i * stride], &staged[i * n_bytes], n_bytes);
                   }
                 });
}

void KvCache::begin_restore(std::int64_t n_tokens, std::span<const std::byte> fixed) {
  PRECIS_CHECK_LE(n_tokens, max_tokens_);
  PRECIS_CHECK_EQ(static_cast<std::int64_t>(fixed.size()), layout_.fixed_bytes());
  if (layout_.page_bytes > 0) resize_pages(ceil_div(n_tokens, kPagePositions));
  n_tokens_ = n_tokens;
  backend_.copy_in(fixed_.data(), fixed);
}

void KvCache::copy_in_pages(std::int64_t first_page, std::span<const std::byte> bytes) {
  const auto stride = static_cast<std::size_t>(layout_.page_bytes);
  std::vector<std::byte> staged;
  for_neighbours(first_page, bytes.size(),
                 [&](std::size_t n, std::size_t at, std::size_t n_bytes, std::byte* memory) {
                   staged.resize(n * n_bytes);
                   for (std::size_t i = 0; i < n; ++i) {
                     std::memcpy(&staged[i * n_bytes], &bytes[at + i * stride], n_bytes);
                   }
                   backend_.copy_in(memory, staged);
                 });
}

}  // namespace precis
