// The K best rows of a stream of scores, in bounded memory.
//
// Rows arrive in ascending order.  Candidates gather in a buffer of more than K entries; when it is
// full only the K best stay, and their worst becomes the threshold that later rows must exceed: a
// later row of equal score loses to an earlier one, so "exceed" is exact.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>

namespace precis {

/// Scores of equal value tie whatever their sign of zero; NaN is below every number.
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

  /// Rows from `first_row` on enter only with a score above this, before rounding to bf16 as after;
  /// NaN rules nothing out.
  float bound(std::int32_t first_row) const {
    const std::int32_t worst = order_of(worst_kept_);
    if (first_row > row_of(worst_kept_) || worst == kNanOrder) return score_of(worst);
    // Some of the rows win a tie, also one that rounding makes: one step of bf16 lower.
    return score_of(worst - 0x10000);
  }

  void add(float score, std::int32_t row) { add(entry(score, row)); }

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
  static constexpr std::int64_t kSlack = 64;  // so that a small K does not tighten at every row

  // Scores as integers of the same order; their bits, since it is its own inverse.
  static constexpr std::int32_t kNanOrder = std::numeric_limits<std::int32_t>::min();
  static std::int32_t flip_negative(std::int32_t bits) { return bits ^ (bits >> 31 & 0x7fffffff); }
  static float score_of(std::int32_t order) { return std::bit_cast<float>(flip_negative(order)); }

  // One number that orders by score ascending, then row descending: the greatest is the best.
  static std::uint64_t entry(float score, std::int32_t row) {
    const auto bits = std::bit_cast<std::int32_t>(score + 0.0f);  // −0 becomes +0
    const std::int32_t order = std::isnan(score) ? kNanOrder : flip_negative(bits);
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
