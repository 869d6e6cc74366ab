// The points that a session can go back to, and which of them to keep.
#pragma once

#include <cstdint>
#include <vector>

#include "kv/kv_cache.h"

namespace precis {

/// A frontier and the logits of its last token.
struct SavedPoint {
  Frontier frontier;
  std::vector<float> logits;

  std::int64_t n_bytes() const {
    return static_cast<std::int64_t>(frontier.fixed.size() + 4 * logits.size());
  }
};

/// At most `max_points`, 2 or more, saved points in ascending position.  When one too many comes, the
/// point whose neighbours lie closest together goes, so that what is left covers the timeline evenly.
/// The two newest always stay: questions about a long text go back to its end again and again.
class SavedPoints {
 public:
  /// Positions between the points that a long prefill leaves behind.
  static constexpr std::int64_t kIntervalTokens = 8192;

  explicit SavedPoints(int max_points) : max_points_(max_points) {}

  /// Adds a point after all others, or replaces the one at the same position.
  void add(SavedPoint point);

  /// The last point that holds at most `n_tokens` tokens; null if there is none.
  const SavedPoint* latest_at_or_before(std::int64_t n_tokens) const;

  /// Forgets every point beyond `n_tokens`.
  void drop_after(std::int64_t n_tokens);

  static std::int64_t tokens_to_next_interval(std::int64_t position) {
    return kIntervalTokens - position % kIntervalTokens;
  }

  std::int64_t n_bytes() const;
  std::size_t size() const { return points_.size(); }

 private:
  void thin();

  int max_points_;
  std::vector<SavedPoint> points_;
};

}  // namespace precis
