// The K best rows of a stream of scores, in bounded memory.
//
// Rows arrive in ascending order.  Candidates gather in a buffer of more than K entries; when it is
// full only the K best stay, and their worst becomes the threshold that later rows must exceed: a
// later row of equal score loses to an earlier one, so "exceed" is exact.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace precis {

/// Scores come as integers of the same order ("score order"), NaN below every number.
class TopRows {
 public:
  /// Entries that a selection of k rows among at most `n_rows` works in.
  static std::size_t capacity(std::int64_t k, std::int64_t n_rows) {
    return static_cast<std::size_t>(std::min(std::max(2 * k, k + kSlack), n_rows));
  }

  TopRows() = default;
  /// `entries` has capacity(k, n) entries for the n rows to come.
  TopRows(std::span<std::uint64_t> entries, std::int64_t k)
      : entries_(entries), k_(static_cast<std::size_t>(k)) {}

  bool accepts_all() const { return worst_kept_ == 0; }
  /// Where not accepts_all(), a row that comes later enters only with a score order above this.
  std::int32_t threshold() const { return order_of(worst_kept_); }

  void add(std::int32_t order, std::int32_t row) { add(entry(order, row)); }

  /// Takes over the candidates of a list of other rows.
  void merge(const TopRows& other) {
    for (std::size_t i = 0; i < other.count_; ++i) add(other.entries_[i]);
  }

  /// Writes the best rows by score descending, then row ascending, and -1 behind them.
  void finish(std::span<std::int32_t> out) {
    keep_best();
    std::sort(entries_.begin(), entries_.begin() + count_, std::greater<>());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = i < count_ ? row_of(entries_[i]) : -1;
  }

 private:
  static constexpr std::int64_t kSlack = 256;  // so that a small K does not tighten at every row

  // One number that orders by score ascending, then row descending: the greatest is the best.
  static std::uint64_t entry(std::int32_t order, std::int32_t row) {
    const std::uint32_t high = static_cast<std::uint32_t>(order) ^ 0x80000000u;
    return std::uint64_t{high} << 32 | ~static_cast<std::uint32_t>(row);
  }
  static std::int32_t row_of(std::uint64_t entry) {
    return static_cast<std::int32_t>(~static_cast<std::uint32_t>(entry));
  }
  static std::int32_t order_of(std::uint64_t entry) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(entry >> 32) ^ 0x80000000u);
  }

  void add(std::uint64_t candidate) {
    if (candidate <= worst_kept_) return;
    entries_[count_++] = candidate;
    if (count_ == entries_.size()) tighten();
  }

  void keep_best() {
    if (count_ <= k_) return;
    std::nth_element(entries_.begin(), entries_.begin() + (k_ - 1), entries_.begin() + count_,
                     std::greater<>());
    count_ = k_;
  }

  void tighten() {
    if (count_ <= k_) return;  // all rows fit, and this was the last
    keep_best();
    worst_kept_ = entries_[k_ - 1];
  }

  std::span<std::uint64_t> entries_;
  std::size_t k_ = 0;
  std::size_t count_ = 0;
  std::uint64_t worst_kept_ = 0;  // below every entry: rows are not negative
};

}  // namespace precis
